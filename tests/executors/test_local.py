"""Real child processes from the real fork server."""

import multiprocessing
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from sweeper.executors import supervise
from sweeper.executors.local import LocalExecutor
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import Outcome
from tests.conftest import Listener, Submitted


def trial_process() -> psutil.Process:
    """The one child that trains: the only grandchild that leads a session of its own.

    One of an earlier test may take a moment to end.
    """
    deadline = time.monotonic() + 20
    while len(leaders := _session_leaders()) != 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    (child,) = leaders
    return child


def _session_leaders() -> list[psutil.Process]:
    leaders = []
    for process in psutil.Process().children(recursive=True):
        with suppress(ProcessLookupError):
            if os.getsid(process.pid) == process.pid:
                leaders.append(process)
    return leaders


def test_a_trial_leaves_its_records_in_its_folder(executor, make_spec, tmp_path: Path) -> None:
    listener = Listener()
    result = Submitted(executor, make_spec(), tmp_path, listener).result()
    assert result.outcome is Outcome.COMPLETE, result.reason
    assert result.epochs == tuple(listener.reports)
    assert result.wall_time_s > result.train_time_s
    child = TrialFolder(tmp_path).read_child()
    assert child is not None and child.epochs == result.epochs
    assert not TrialFolder(tmp_path).has_result, "only the study judges"
    log = (tmp_path / "log.txt").read_text()
    assert "2 epochs completed" in log and "\r" not in log and "\x1b" not in log


def test_a_started_trial_costs_little_beyond_its_training(
    executor, make_spec, tmp_path: Path
) -> None:
    Submitted(executor, make_spec(epochs=1), tmp_path / "first", Listener()).result()
    Submitted(executor, make_spec(epochs=1), tmp_path / "second", Listener()).result()
    assert "import" not in (tmp_path / "second" / "log.txt").read_text().lower().split("epoch")[0]


def test_kill_9_ends_that_trial_only(executor, make_spec, tmp_path: Path) -> None:
    killer = Listener(on_progress=lambda: trial_process().send_signal(signal.SIGKILL))
    killed = Submitted(executor, make_spec(epochs=50), tmp_path / "a", killer).result()
    assert killed.outcome is Outcome.CRASHED
    assert "SIGKILL" in killed.reason and "out-of-memory killer" in killed.reason
    after = Submitted(executor, make_spec(epochs=1), tmp_path / "b", Listener()).result()
    assert after.outcome is Outcome.COMPLETE, after.reason


def test_a_shutdown_interrupts_so_that_the_cell_runs_again(
    executor, make_spec, tmp_path: Path
) -> None:
    end = Listener(on_progress=lambda: trial_process().send_signal(signal.SIGTERM))
    ended = Submitted(executor, make_spec(epochs=50), tmp_path / "a", end).result()
    assert (ended.outcome, ended.reason) == (Outcome.INTERRUPTED, "ended by SIGTERM")
    assert (
        Submitted(executor, make_spec(epochs=1), tmp_path / "b", Listener()).result().map50
        is not None
    )


def child_with_a_worker(folder: str, device: str, connection: object) -> None:
    """Dies, as of a segmentation fault, and leaves a worker."""
    os.setsid()
    worker = subprocess.Popen(["sleep", "60"])
    (Path(folder) / "worker").write_text(str(worker.pid))
    os.kill(os.getpid(), signal.SIGSEGV)


def test_the_workers_of_a_trial_that_died_end_with_it(
    executor, make_spec, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(supervise, "_child", child_with_a_worker)
    result = Submitted(executor, make_spec(), tmp_path, Listener()).result()
    assert result.outcome is Outcome.CRASHED and "SIGSEGV" in result.reason
    worker = int((tmp_path / "worker").read_text())
    _, alive = psutil.wait_procs([p for p in psutil.process_iter() if p.pid == worker], timeout=2)
    assert not alive


def test_a_child_that_cannot_start_is_a_crash(executor, make_spec, tmp_path, monkeypatch) -> None:
    class Context:
        Pipe = staticmethod(multiprocessing.Pipe)

        class Process:
            def __init__(self, target: object, args: object) -> None: ...

            def start(self) -> None:
                raise EOFError

    monkeypatch.setattr(executor._supervisor, "_context", Context())
    result = Submitted(executor, make_spec(), tmp_path, Listener()).result()
    assert (result.outcome, result.reason) == (
        Outcome.CRASHED,
        "no process could be started (EOFError).",
    )


def test_a_trial_over_its_time_limit_is_ended_and_keeps_its_epochs(
    executor, make_spec, tmp_path: Path
) -> None:
    result = Submitted(
        executor, make_spec(epochs=1000, timeout_s=20.0), tmp_path, Listener()
    ).result()
    assert result.outcome is Outcome.TIMEOUT
    assert "study.trial_timeout_s=20" in result.reason
    assert result.epochs and result.map50 is not None


def test_a_trial_is_stopped_when_the_watcher_says_so(executor, make_spec, tmp_path: Path) -> None:
    listener = Listener(on_epoch=lambda report: report.epoch == 2)
    result = Submitted(executor, make_spec(epochs=1000), tmp_path, listener).result()
    assert result.outcome is Outcome.PRUNED
    assert 2 <= len(result.epochs) < 10


def test_a_missing_dataset_is_a_crash_with_its_reason(executor, make_spec, tmp_path: Path) -> None:
    spec = make_spec(data_yaml=str(tmp_path / "gone.yaml"))
    result = Submitted(executor, spec, tmp_path / "t", Listener()).result()
    assert result.outcome is Outcome.CRASHED and "gone.yaml" in result.reason


def test_closing_ends_what_runs_and_what_waits(make_spec, tmp_path: Path) -> None:
    local = LocalExecutor()
    running = Submitted(local, make_spec(epochs=1000), tmp_path / "a", Listener())
    waiting = Submitted(local, make_spec(), tmp_path / "b", Listener())
    while not (tmp_path / "a" / "log.txt").exists():
        time.sleep(0.05)
    local.close()
    assert running.result().outcome is Outcome.INTERRUPTED
    assert waiting.future.cancelled()
    assert not [p for p in psutil.Process().children(True) if os.getsid(p.pid) == p.pid]
