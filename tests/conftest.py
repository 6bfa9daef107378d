"""Shared fixtures: an isolated environment, a tiny real dataset and specs for it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Before anything imports Ultralytics or starts a fork server: the user's settings stay as they
# are, and nothing asks the network.
_HOME = tempfile.TemporaryDirectory(prefix="sweeper-tests-")
os.environ["YOLO_CONFIG_DIR"] = _HOME.name
os.environ["YOLO_OFFLINE"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # its queues stay in /dev/shm


def _is_roomy(memory: Path) -> bool:
    """Whether folders may lie there that programs are built in."""
    if not memory.is_dir():
        return False
    room = os.statvfs(memory)
    return not room.f_flag & os.ST_NOEXEC and room.f_bavail * room.f_frsize > 4 * 2**30


# A study waits for the disk whenever its databases commit, which is most of its time.
MEMORY = Path("/dev/shm")
if _is_roomy(MEMORY):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

from sweeper.emulator.build import build  # noqa: E402
from sweeper.emulator.machine import Card, Machine, shared_table  # noqa: E402
from sweeper.emulator.toolchain import find_compilers, find_torch  # noqa: E402
from sweeper.errors import EmulatorError  # noqa: E402
from sweeper.executors.local import LocalExecutor  # noqa: E402
from sweeper.study.judge import judge  # noqa: E402
from sweeper.tracking import Tracker  # noqa: E402
from sweeper.training.digits import DigitScenes, write_digits  # noqa: E402
from sweeper.trial.folder import TrialFolder  # noqa: E402
from sweeper.trial.readings import EpochReport  # noqa: E402
from sweeper.trial.record import TrialResult  # noqa: E402
from sweeper.trial.spec import TrialSpec  # noqa: E402
from tests.cards import CardServer, EmulatedMachine, emulate  # noqa: E402
from tests.forks import Commands  # noqa: E402
from tests.memory.stub_driver import Driver, build_stub  # noqa: E402

SpecMaker = Callable[..., TrialSpec]
MachineMaker = Callable[..., EmulatedMachine]


# Machines are slow at times: no property fails by the clock.
hypothesis.settings.register_profile("sweeper", deadline=None)
hypothesis.settings.load_profile("sweeper")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest test: a file goes to one worker, and the last one is waited for."""
    items.sort(key=lambda item: item.path.name != "test_kill_loop.py")


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables; to create them takes seconds."""
    folder = tmp_path_factory.mktemp("empty")
    Tracker(f"sqlite:///{folder}/mlflow.db", "other", folder)
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all tests keep the traces of models: each takes seconds, the largest a minute."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "traces"
    folder.mkdir(exist_ok=True)
    return folder


def link_traces(runs: Path, traces: Path) -> Path:
    """A runs_dir that finds the traces of all tests in its cache."""
    (runs / "cache").mkdir(parents=True)
    (runs / "cache/vram").symlink_to(traces)
    return runs


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve training and four validation scenes of 64 px."""
    scenes = DigitScenes(imgsz=64, train=12, val=4, min_digits=1, max_digits=2)
    return write_digits(tmp_path_factory.mktemp("data"), scenes)


@pytest.fixture
def own_data(tiny_data: Path, tmp_path: Path) -> Path:
    """The same for one test, which may change it."""
    folder = shutil.copytree(tiny_data.parent, tmp_path / "own_data")
    copy = folder / tiny_data.name
    copy.write_text(copy.read_text().replace(str(tiny_data.parent), str(folder)))
    assert str(tiny_data.parent) not in copy.read_text()
    return copy


@pytest.fixture
def make_spec(tiny_data: Path) -> SpecMaker:
    """A spec over the tiny dataset, a second or two of real training, with changes."""

    def make(**changes: Any) -> TrialSpec:
        values: dict[str, Any] = {
            "study": "test",
            "number": 0,
            "strategy": "test",
            "batch": 4,
            "accumulate": 1,
            "amp": False,
            "model": "yolo11n",
            "model_file": "yolo11n.yaml",
            "data": "digits",
            "data_yaml": str(tiny_data),
            "nc": 10,
            "boxes_per_image": 1.5,
            "imgsz": 64,
            "epochs": 2,
            "optimizer": "SGD",
            "seed": 0,
            "limit_gib": 24.0,
            "threads": 1,
            "train_args": {"lr0": 0.01, "warmup_epochs": 1.0, "workers": 0, "mosaic": 0.0},
        }
        return TrialSpec(**(values | changes))

    return make


@pytest.fixture(scope="session")
def executor() -> Iterator[LocalExecutor]:
    """One executor, so that torch is imported once."""
    local = LocalExecutor()
    yield local
    local.close()


@pytest.fixture(scope="session")
def stub_libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stubs of the NVIDIA driver, compiled once."""
    folder = tmp_path_factory.mktemp("driver")
    build_stub("nvml_stub.c", folder / "libnvidia-ml.so.1")
    build_stub("cuda_stub.c", folder / "libcuda.so.1")
    return folder


@pytest.fixture
def driver(stub_libraries: Path, tmp_path: Path) -> Driver:
    """The stub driver, for scripts in a process of their own."""
    return Driver(stub_libraries, tmp_path)


@pytest.fixture(scope="session")
def command() -> Iterator[Commands]:
    """Runs commands that end before they train, in a moment each."""
    commands = Commands()
    yield commands
    commands.close()


@pytest.fixture(scope="session")
def card_server() -> Iterator[CardServer]:
    """Runs scripts on emulated cards; started once, because it imports torch."""
    try:
        find_torch(), find_compilers()
    except EmulatorError as error:
        pytest.skip(str(error))
    server = CardServer(build())
    yield server
    server.close()


@pytest.fixture
def cards(card_server: CardServer, tmp_path: Path) -> Iterator[MachineMaker]:
    """Makes emulated machines: ``cards(Card(24), Card(8), pids="container")``.

    A call of what is not implemented ends the process (``strict``).
    """
    with ExitStack() as tables:

        def make(*cards: Card, **machine: Any) -> EmulatedMachine:
            described = Machine(cards, **{"strict": True} | machine)
            return emulate(described, card_server, tables.enter_context(shared_table()), tmp_path)

        yield make


@pytest.fixture
def card(cards: MachineMaker) -> MachineMaker:
    """Makes machines with one card: ``card(gib=24, name="…", capability="8.6")``."""

    def make(gib: float = 24, name: str = "", capability: str = "8.6", **machine: Any) -> Any:
        return cards(Card(gib, name, capability), **machine)

    return make


class Listener:
    """A watcher that remembers, and can act while the trial runs."""

    def __init__(
        self,
        on_progress: Callable[[], None] = lambda: None,
        on_epoch: Callable[[EpochReport], bool] = lambda report: False,
    ) -> None:
        self.reports: list[EpochReport] = []
        self._on_progress, self._on_epoch = on_progress, on_epoch

    def on_progress(self, done: int, total: int) -> None:
        self._on_progress()

    def on_epoch(self, report: EpochReport) -> bool:
        self.reports.append(report)
        return self._on_epoch(report)


class Submitted:
    """A trial under way; its facts are judged when they come."""

    def __init__(self, executor: Any, spec: TrialSpec, path: Path, listener: Listener) -> None:
        self.spec, self.folder = spec, TrialFolder(path)
        self.folder.prepare(spec)
        self.future: Future[Any] = executor.submit(self.folder, listener)

    def result(self) -> TrialResult:
        return judge(self.spec, self.future.result())
