"""The structure of the package, as a test: one way for data, one door for each library."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "sweeper").rglob("*.py"))

DOORS = {
    "torch": (
        *("sweeper/training/", "sweeper/vram/", "sweeper/deploy/"),
        "sweeper/executors/preload.py",
    ),
    "ultralytics": ("sweeper/training/", "sweeper/vram/", "sweeper/deploy/"),
    "mlflow": ("sweeper/tracking/",),
    "optuna": ("sweeper/search/",),
    "sqlalchemy": (  # what the storages of Optuna and MLflow raise
        *("sweeper/search/storage.py", "sweeper/tracking/"),
    ),
    "hydra": ("sweeper/cli.py", "sweeper/compose.py", "sweeper/search/space.py"),
    "omegaconf": (
        *("sweeper/cli.py", "sweeper/compose.py", "sweeper/search/space.py"),
        "sweeper/settings.py",  # MISSING, the mark of a required key
    ),
    "pandas": ("sweeper/report/frames.py", "sweeper/report/notebook.py"),
    "matplotlib": ("sweeper/report/", "sweeper/plan/plot.py", "sweeper/executors/preload.py"),
    "scipy": ("sweeper/report/certainty.py",),
    "markdown_it": ("sweeper/report/html.py",),
    "pynvml": ("sweeper/vram/nvml.py",),
}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("library", DOORS)
def test_a_library_enters_only_through_its_door(library: str) -> None:
    users = {
        str(p.relative_to(ROOT))
        for p in SOURCES
        if any(name.split(".")[0] == library for name in imported(p))
    }
    assert users, f"nobody imports {library}: the door is no longer needed"
    assert not {u for u in users if not u.startswith(DOORS[library])}


def test_records_and_errors_import_nothing_of_a_third_party() -> None:
    for name in ("trial.py", "records.py", "command.py", "errors.py"):
        roots = {n.split(".")[0] for n in imported(ROOT / "sweeper" / name)}
        assert roots <= {"sweeper", *sys.stdlib_module_names}


def test_the_child_knows_nothing_of_the_study() -> None:
    for path in [*(ROOT / "sweeper" / "training").glob("*.py")]:
        names = imported(path)
        assert not {n for n in names if n.startswith(("sweeper.search", "sweeper.tracking"))}


def test_the_parent_process_never_imports_torch() -> None:
    code = (
        "import sys, sweeper.search.launch, sweeper.report.__main__, sweeper.doctor.__main__\n"
        "import sweeper.deploy.__main__; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False", done.stderr


def test_no_module_is_longer_than_the_ceiling() -> None:
    long = {p.name: n for p in SOURCES if (n := len(p.read_text().splitlines())) > 250}
    assert not long
