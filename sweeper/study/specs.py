"""From a composed configuration to the TrialSpec that a child process runs."""

from __future__ import annotations

import math
import os
from pathlib import Path

from sweeper.config.settings import Settings
from sweeper.errors import SettingsError
from sweeper.memory.budget import Budget
from sweeper.passwords import without_passwords
from sweeper.training.contents import read_contents
from sweeper.training.dataset import Dataset, prepare_dataset
from sweeper.training.weights import require_weights
from sweeper.trial.alloc_conf import alloc_conf
from sweeper.trial.spec import TrialSpec


class SpecBuilder:
    """Builds specs; each distinct dataset and model is prepared and checked once."""

    def __init__(self, study: str, budget: Budget, threads: int, device: str = "") -> None:
        self._study, self._budget = study, budget
        self._threads, self._device = threads, device
        self._datasets: dict[str, Dataset] = {}
        self._models: set[str] = set()

    def dataset(self, settings: Settings) -> Dataset:
        """The checked dataset of a configuration."""
        key = repr(settings.data)
        if key not in self._datasets:
            self._datasets[key] = prepare_dataset(settings.data, Path(settings.runs_dir))
        return self._datasets[key]

    def build(
        self, settings: Settings, strategy: str, overrides: tuple[str, ...] = ()
    ) -> TrialSpec:
        """The spec of one cell; number and prediction are still to be filled in.

        Raises:
            SettingsError: The dataset is too small for the batch, or the run for accumulate; or
                the weights to start from are not to be had.
            DataError: The dataset has faults.
        """
        dataset = self.dataset(settings)
        require_enough_images(settings, dataset)
        if settings.model.source not in self._models:
            require_weights(settings.model)
            self._models.add(settings.model.source)
        contents = read_contents(settings, dataset)
        return TrialSpec(
            study=self._study,
            number=0,
            strategy=strategy,
            batch=settings.batch,
            accumulate=settings.accumulate,
            amp=settings.amp,
            model=settings.model.title,
            model_file=settings.model.source,
            data=settings.data.title,
            data_yaml=str(dataset.yaml),
            nc=contents.nc,
            boxes_per_image=contents.boxes_per_image,
            imgsz=settings.train.imgsz,
            epochs=settings.train.epochs,
            optimizer=settings.train.optimizer,
            seed=settings.seed,
            threads=self._threads,
            timeout_s=settings.study.trial_timeout_s,
            stall_timeout_s=settings.study.stall_timeout_s,
            limit_gib=self._budget.limit_gib,
            context_gib=self._budget.context_gib,
            keep_weights=settings.keeps_weights,
            train_args=settings.train_args(),
            overrides=tuple(without_passwords(overrides)),
            images=contents.images,
            fullest_image=contents.fullest_image(settings.batch),
            alloc_conf=alloc_conf(settings.memory.allocator, os.environ),
            checkpoint=settings.memory.checkpoint,
            val_batch=settings.memory.val_batch,
            freeze=settings.memory.freeze,
            runs_on=self._device,
            dataset=dataset.facts,
        )


def require_enough_images(settings: Settings, dataset: Dataset) -> None:
    """Refuse a cell whose batch, or accumulate, Ultralytics would lower without a word.

    Raises:
        SettingsError: The dataset is too small for the batch, or the run for accumulate.
    """
    images = dataset.train_images
    if settings.batch > images:
        raise SettingsError(
            f"batch must not exceed the {images} training images of data={settings.data.name} "
            f"but got {settings.batch}. Set batch={images} or less."
        )
    per_epoch = math.ceil(images / settings.batch)
    micro_batches = per_epoch * settings.train.epochs
    if settings.accumulate > micro_batches:
        raise SettingsError(
            f"accumulate={settings.accumulate} with batch={settings.batch} needs that many "
            f"micro-batches for one optimizer step, but the run has {micro_batches} ({per_epoch} "
            f"per epoch, train.epochs={settings.train.epochs}). Lower it or raise train.epochs."
        )
