"""What a driver does to its jobs when another one has taken its study over."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.config.compose import compose_settings
from sweeper.errors import StudyError
from sweeper.executors.jobs import JobExecutor
from sweeper.study import context, lease
from sweeper.study.run import run_study
from sweeper.study.space import Cell, Space
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import EndedBy
from tests.conftest import Listener, link_traces
from tests.executors.schedulers import ProcessScheduler
from tests.study.test_lease import change
from tests.test_end_to_end import SMALL


class LastingScheduler(ProcessScheduler):
    """One whose jobs outlive those who leave it."""

    def close(self) -> None:
        pass


def stop_it() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("beat_s", "then"), [(0.05, lambda: None), (60.0, stop_it)])
def test_a_driver_that_lost_its_study_lets_go_of_its_jobs(
    tmp_path: Path, traces: Path, monkeypatch: pytest.MonkeyPatch, beat_s: float, then: Callable
) -> None:
    """It hears of it by itself, or when it is told to stop before it has heard."""
    runs = link_traces(tmp_path / "runs", traces)
    scheduler = LastingScheduler()
    first, second = (JobExecutor(scheduler, 1, None) for _ in range(2))
    monkeypatch.setattr(context, "open_executor", lambda *_: first)
    monkeypatch.setattr(lease, "BEAT_S", beat_s)
    trial = TrialFolder.of(runs / "s/trials", 0)

    def take_over() -> None:
        while not (trial.events.exists() and '"epoch"' in trial.events.read_text()):
            time.sleep(0.05)
        change(f"sqlite:///{runs}/optuna.db", id="another", who="ann@elsewhere, process 1")
        then()

    taking = threading.Thread(target=take_over, daemon=True)
    taking.start()
    overrides = ["study.name=s", "study.rungs=[]", f"runs_dir={runs}", *SMALL]
    settings = compose_settings([*overrides, "train.epochs=1000", "data.digits.train=4"])
    with pytest.raises(StudyError, match="taken over by ann@elsewhere, process 1"):
        run_study(Space({"batch": (4,)}, (), (Cell((("batch", 4),), settings, "x"),)))
    taking.join()
    listener = Listener()
    followed = second.reattach(trial, listener)
    assert followed is not None and not trial.stop.exists()
    heard = len(trial.events.read_text())
    while len(trial.events.read_text()) == heard:
        assert not followed.done()
        time.sleep(0.05)
    second.close()
    assert followed.result().ended_by is EndedBy.STUDY
    assert listener.reports and not trial.has_result
