"""The structure of the package, as a test: one way for data, one door for each library."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "sweeper").rglob("*.py"))

# From the ground up: a package imports itself and those before it, so there are no cycles.
ORDER = (
    *("passwords", "errors", "fork_server", "meant", "numbers", "script", "str_enum"),
    *("tools", "waiting"),
    *("trial", "config", "emulator"),
    *("memory.measure", "memory", "memory.predict", "training", "executors"),
    *("tracking", "report", "study", "studies", "plan", "doctor", "deploy", "gpu_check", "cli"),
)

DOORS = {
    "torch": (
        *("sweeper/training/", "sweeper/memory/", "sweeper/deploy/"),
        "sweeper/executors/preload.py",
    ),
    "ultralytics": (
        *("sweeper/training/", "sweeper/memory/predict/", "sweeper/deploy/"),
        "sweeper/tracking/served.py",  # runs where the registered model is loaded
    ),
    "mlflow": ("sweeper/tracking/",),
    "optuna": ("sweeper/study/",),
    "sqlalchemy": (  # what the storages of Optuna and MLflow raise, and a lease
        *("sweeper/study/storage.py", "sweeper/study/attribute.py", "sweeper/tracking/"),
    ),
    "hydra": ("sweeper/cli.py", "sweeper/config/compose.py", "sweeper/study/space.py"),
    "omegaconf": (
        *("sweeper/cli.py", "sweeper/config/compose.py", "sweeper/study/space.py"),
        "sweeper/config/settings.py",  # MISSING, the mark of a required key
    ),
    "pandas": ("sweeper/report/frames.py", "sweeper/report/notebook.py"),
    "matplotlib": ("sweeper/report/", "sweeper/plan/plot.py", "sweeper/executors/preload.py"),
    "scipy": ("sweeper/report/certainty.py",),
    "markdown_it": ("sweeper/report/html.py",),
    "submitit": ("sweeper/executors/slurm.py",),
    "pynvml": ("sweeper/memory/measure/nvml.py",),
    "ray": (
        *("sweeper/executors/on_ray.py", "sweeper/executors/ray_actor.py"),
        "sweeper/executors/ray_slots.py",
    ),
    "pydantic": ("sweeper/trial/json_text.py",),
}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def package_of(module: str) -> str:
    """The longest entry of `ORDER` that a module of sweeper belongs to; empty for its top."""
    inside = module.removeprefix("sweeper.")
    found = [p for p in ORDER if inside == p or inside.startswith(f"{p}.")]
    return max(found, key=len, default="")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down_the_order_of_the_packages(path: Path) -> None:
    own = package_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if not own:  # __init__ and __main__, which only hand over
        return
    used = {package_of(n) for n in imported(path) if n.startswith("sweeper.")}
    assert not {p for p in used if ORDER.index(p) > ORDER.index(own)}


def test_every_package_has_its_place_in_the_order() -> None:
    packages = {p.parent.name for p in (ROOT / "sweeper").glob("*/__init__.py")}
    alone = {path.stem for path in (ROOT / "sweeper").glob("[!_]*.py")}
    assert packages | alone == {p.split(".")[0] for p in ORDER}


@pytest.mark.parametrize("library", DOORS)
def test_a_library_enters_only_through_its_door(library: str) -> None:
    users = {
        str(p.relative_to(ROOT))
        for p in SOURCES
        if any(name.split(".")[0] == library for name in imported(p))
    }
    assert users, f"nobody imports {library}: the door is no longer needed"
    assert not {u for u in users if not u.startswith(DOORS[library])}


def test_the_parent_process_never_imports_torch() -> None:
    code = (
        "import sys, sweeper.study.run, sweeper.report.publish, sweeper.doctor.checks\n"
        "import sweeper.deploy.run; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False", done.stderr


def test_the_processes_that_predict_a_plan_import_no_settings() -> None:
    code = (
        "import sys, sweeper.plan.predictions; print(*{'omegaconf', 'pydantic'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "\n", done.stderr
