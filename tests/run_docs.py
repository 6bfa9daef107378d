"""Run the commands of the README and docs/ as a reader would: ``make docs``.

In reading order, in one copy of the checkout, trainings cut short by further overrides. What this
machine cannot run is listed with its reason. The exit code says whether a command failed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from sweeper.training.digits import DigitScenes, write_digits

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"```(?:bash|console)\n(.*?)```", re.DOTALL)
INLINE = re.compile(r"`((?:python -m sweeper|make )[^`]*)`")
NOT_RUN = {
    "make test": "CI runs it",
    "make bench-s": "takes up to half an hour",
    "make bench-p": "takes up to half an hour",
    "make soak": "takes ten minutes",
    "gpu_check": "takes ten minutes and a GPU",
    "make gpu-check": "takes ten minutes and a GPU",
    "tmux": "needs a terminal; the command inside is the README's own",
    "model.pretrained=true": "downloads weights",
    "-m experiment=article batch": "downloads COCO128, and trains for hours",
    "-m experiment=article memory": "downloads COCO128, and trains for hours",
    "sweeper.deploy study.name=article": "its study is not run",
    "source ": "the environment is active already",
    "executor=slurm": "needs a Slurm cluster",
    "executor=ray": "needs a Ray cluster",
    "createdb": "needs a PostgreSQL server",
    "mlflow server": "runs until it is stopped",
    "sweeper.deploy study.name=mine": "its study downloads weights",
    "vram=auto vram.budget_gib=1.25": "needs more images than a shortened run has",
    "study.name=digits deploy.threads": "its study trains for minutes",
}
SHORT = {
    "sweeper": ["train.epochs=1", "study.rungs=[]", "train.imgsz=64", "train.workers=0"],
    "sweeper.deploy": [
        "deploy.epochs=1",
        "deploy.runs=3",
        "deploy.timeout_s=300",
        "deploy.min_map=0",
    ],
}
SMALL_DIGITS = ["data.digits.train=64", "data.digits.val=8", "data.imgsz=64"]
UI = "http://127.0.0.1:5000"


def shell_lines(block: str) -> list[str]:
    """The commands of a block: those after ``$`` if there are any, continued lines joined."""
    lines = block.replace("\\\n", " ").splitlines()
    typed = [line[2:] for line in lines if line.startswith("$ ")] or lines
    return [c for c in (re.split(r"\s{2,}#|^#", line)[0].strip() for line in typed) if c]


def commands() -> list[tuple[str, str]]:
    """(document, command) in reading order, without repetitions."""
    found: dict[str, str] = {}
    for document in DOCUMENTS:
        text = document.read_text()
        for part in re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL):
            block, inline = BLOCK.fullmatch(part), INLINE.fullmatch(part)
            lines = shell_lines(block[1]) if block else [inline[1]] if inline else []
            for line in lines:
                found.setdefault(line, document.name)
    return [(document, line) for line, document in found.items()]


def shortened(line: str) -> str:
    """The command, its training cut short."""
    line = line.replace("path/to/data.yaml", "mine/data.yaml")
    asked = re.search(r"python -m (sweeper(?:\.\w+)?)", line)
    if asked is None or "--cfg" in line:
        return line
    more = SHORT.get(asked[1], [])
    if asked[1] == "sweeper" and "data=" not in line:
        more = [*more, *SMALL_DIGITS]
    return " ".join([line, *more])


def run(line: str, folder: Path) -> int:
    """Exit code of a command; of the server of `make ui`, whether it answers."""
    env = os.environ | {"PATH": f"{folder / '.venv/bin'}:{os.environ['PATH']}"}
    with (folder / "docs.log").open("a") as log:
        print(f"\n$ {line}", file=log, flush=True)
        process = subprocess.Popen(
            ["bash", "-ec", line],
            cwd=folder,
            env=env,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        if not line.startswith("make ui"):
            return process.wait()
        try:
            return 0 if _answers(UI) else 1
        finally:
            os.killpg(process.pid, 15)
            process.wait()


def _answers(address: str) -> bool:
    for _ in range(60):
        try:
            with urllib.request.urlopen(address, timeout=5) as page:
                return bool(page.status == 200)
        except OSError:
            time.sleep(1)
    return False


def copy_checkout(folder: Path) -> None:
    """The tracked files, with their times, and the environment."""
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in names.stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    scenes = DigitScenes(imgsz=64, train=64, val=8)  # 4 × 16: batch × accumulate
    shutil.copytree(write_digits(folder / "made", scenes).parent, folder / "mine")


def main() -> int:
    """Run them; one line each."""
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_checkout(folder)
        for document, line in commands():
            reason = next((why for sign, why in NOT_RUN.items() if sign in line), None)
            if reason:
                print(f"not run      {document}: {line} ({reason})", flush=True)
                continue
            started = time.perf_counter()
            code = run(shortened(line), folder)
            expected = 1 if "notes.yaml" in line else 0  # the one that shows an error
            failed += code != expected
            verdict = "ok" if code == expected else f"exit {code}"
            seconds = time.perf_counter() - started
            print(f"{verdict:<7}{seconds:>4.0f} s {document}: {line}", flush=True)
        if failed:
            print((folder / "docs.log").read_text(), file=sys.stderr)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
