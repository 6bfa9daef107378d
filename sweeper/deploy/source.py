"""Which weights are deployed: a file, or the winner of a study, trained once more if need be."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sweeper.config.settings import Settings
from sweeper.errors import DeployError, StudyError
from sweeper.executors.devices import find_devices
from sweeper.executors.local import LocalExecutor
from sweeper.numbers import count, duration
from sweeper.report.findings import Findings
from sweeper.tracking import read_study
from sweeper.training.dataset import prepare_dataset
from sweeper.trial.json_file import from_json
from sweeper.trial.record import EpochReport, Outcome, TrialSpec

UNNAMED = "weights"


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be deployed.

    Attributes:
        study: Name of its folder under ``runs_dir``.
        text: Where it comes from, for people.
        weights: The file; None when it has to be trained.
        spec: The winning trial; None for a file of the user's own.
        run_id: The winner's MLflow run.
        data_yaml: Dataset of the validation.
        imgsz: Image side, pixels.
    """

    study: str
    text: str
    weights: Path | None
    spec: TrialSpec | None
    run_id: str | None
    data_yaml: Path
    imgsz: int


def find_source(settings: Settings) -> Source:
    """The weights named by ``deploy.weights``, else the winner of ``study.name``.

    Raises:
        SweeperError: There is no such file or study, or nothing to deploy in it.
    """
    if settings.deploy.weights is not None:
        return _file(settings, Path(settings.deploy.weights).expanduser())
    return _winner(settings)


def _file(settings: Settings, path: Path) -> Source:
    require_weights(path, f"deploy.weights={settings.deploy.weights}")
    data = prepare_dataset(settings.data, Path(settings.runs_dir))
    imgsz = settings.deploy.imgsz or settings.train.imgsz
    name = settings.study.name or UNNAMED
    return Source(name, f"`{path.name}`", path, None, None, data.yaml, imgsz)


def require_weights(path: Path, key: str) -> None:
    """Refuse what torch could not read as weights.

    Raises:
        DeployError: No such file, another suffix, or damaged.
    """
    if not path.is_file():
        raise DeployError(f"{key} does not exist. Give the path of a .pt file that YOLO saved.")
    if path.suffix != ".pt":
        raise DeployError(f"{key} is no .pt file. Exports are made from the weights YOLO saved.")
    if not zipfile.is_zipfile(path):
        raise DeployError(f"{key} is damaged or no weights of PyTorch. Copy or train it again.")


def _winner(settings: Settings) -> Source:
    name = settings.study.name
    local = Path(settings.tracking_uri.removeprefix("sqlite:///"))
    if settings.tracking_uri.startswith("sqlite:///") and not local.exists():
        wanted = f"study.name={name}" if name else "any study"
        raise StudyError(
            f"{wanted} is not in {settings.tracking_uri}. Run one first: "
            "python -m sweeper -m experiment=demo, or give deploy.weights=PATH."
        )
    study = read_study(settings.tracking_uri, settings.tracking.experiment, name)
    best = Findings(study).winner
    if best is None:
        raise StudyError(
            f"study.name={study.name} has no trial that completed within its budget, so there is "
            f"nothing to deploy. See python -m sweeper.report study.name={study.name}."
        )
    winner = best.first
    folder = Path(settings.runs_dir) / study.name / "trials" / f"{winner.number:04d}"
    spec = _read_spec(folder)
    weights = folder / "weights" / "best.pt"
    if weights.is_file():
        require_weights(weights, str(weights))
    if not Path(spec.data_yaml).is_file():
        raise StudyError(f"{spec.data_yaml}, the dataset of study.name={study.name}, is gone.")
    return Source(
        study=study.name,
        text=f"trial {winner.number} ({winner.label}) of study {study.name}",
        weights=weights if weights.is_file() else None,
        spec=spec,
        run_id=winner.run_id,
        data_yaml=Path(spec.data_yaml),
        imgsz=settings.deploy.imgsz or spec.imgsz,
    )


def _read_spec(folder: Path) -> TrialSpec:
    try:
        return from_json(TrialSpec, (folder / "spec.json").read_text())
    except (OSError, TypeError, ValueError) as error:
        raise StudyError(
            f"{folder}/spec.json, the winner's record, cannot be read ({error}). "
            "Give the weights: deploy.weights=PATH."
        ) from error


class _Silent:
    def on_progress(self, done: int, total: int) -> None:
        pass

    def on_epoch(self, report: EpochReport) -> bool:
        return False


def train_again(
    source: Source, epochs: int | None, folder: Path, say: Callable[[str], None]
) -> Source:
    """Train the winning configuration once more; the source with the weights and how it got them.

    Raises:
        DeployError: The trial did not complete.
    """
    assert source.spec is not None
    spec = replace(
        source.spec, epochs=epochs or source.spec.epochs, keep_weights=True, timeout_s=0.0
    )
    say(f"weights were not kept (study.keep_best=true keeps them): training {spec.label} again")
    executor = LocalExecutor(find_devices(1).names)
    try:
        result = executor.submit(spec, folder, _Silent()).result()
    finally:
        executor.close()
    if result.outcome is not Outcome.COMPLETE:
        raise DeployError(f"{source.text} ended as {result.outcome.value}: {result.reason}")
    length = count(spec.epochs, "epoch")
    say(f"trained {length} in {duration(result.wall_time_s)}")
    return replace(
        source,
        weights=folder / "weights" / "best.pt",
        text=f"{source.text}, trained once more for {length}: its weights were not kept",
    )
