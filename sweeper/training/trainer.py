"""Ultralytics' detection trainer, held to exactly what the trial asks for."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import ultralytics.engine.trainer as engine
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.torch_utils import autocast as ultralytics_autocast

from sweeper.memory.recompute import recompute
from sweeper.numbers import GIB
from sweeper.training import checkpoint
from sweeper.training.checkpoint import Part
from sweeper.training.device import DeviceMeter
from sweeper.training.endings import AmpRefused, Diverged, OutOfMemory, TooShort
from sweeper.training.loaded import require_images
from sweeper.training.order import number_samples, seed_epoch
from sweeper.training.val_batches import split_batches
from sweeper.trial.readings import CURVE_DIGITS, EpochReport, steady
from sweeper.trial.spec import TrialSpec

# A step whose gradients are not finite is skipped by torch's GradScaler, which halves its scale,
# at first 2**16. When the 17th in a row fails, at a scale of 1, scaling was not the cause.
MOST_SKIPPED_STEPS = 16
CHECKPOINT_S = 300.0  # a machine that is taken away costs no more of a part than this and an epoch


def autocast(enabled: bool | torch.dtype, device: str = "cuda") -> AbstractContextManager[Any]:
    """Ultralytics' autocast, except that AMP on the CPU is real bfloat16 autocast."""
    if device == "cpu":
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=bool(enabled))
    context: AbstractContextManager[Any] = ultralytics_autocast(enabled, device=device)
    return context


class TrialTrainer(DetectionTrainer):  # type: ignore[misc]
    """Exact accumulation, no silent retries, no work that nobody reads.

    Parts of a run that follow one another train what the run trains in one go, bit for bit.

    Attributes:
        paused: Whether the part ended before the run did.
        iterations: Micro-batches trained.
        optimizer_steps: Optimizer steps that happened.
        skipped_in_a_row: Optimizer steps that the scaler has skipped since the last that happened.
        started: When the training loop began, by `time.monotonic`; set-up lies before.
        reports: One report per finished epoch.
        class_map50: mAP@0.5 by class name in the best of them.
    """

    def __init__(
        self,
        spec: TrialSpec,
        overrides: dict[str, Any],
        on_epoch: Callable[[EpochReport], None],
        on_batch: Callable[[int, int], None],
        part: Part | None = None,
    ) -> None:
        """Prepare the run; ``on_batch`` gets micro-batches done and in all, and may raise.

        Without ``part`` it trains to the end.
        """
        self.spec, self.part = spec, part or Part(spec.epochs)
        self.paused = False
        self.iterations = self.optimizer_steps = self.pipelines = 0
        self.skipped_in_a_row = 0
        self.started = 0.0
        self.reports: list[EpochReport] = []
        self.class_map50: dict[str, float] = {}
        self._on_epoch, self._on_batch = on_epoch, on_batch
        self._state: dict[str, Any] | None = None  # of the checkpoint, until training starts
        self._stepped_before = 0
        self._saved_as: Path | None = None
        engine.autocast = autocast
        super().__init__(overrides=overrides)
        self._require_bf16()
        self.add_callback("on_train_start", TrialTrainer._start)
        self.add_callback("on_train_epoch_start", TrialTrainer._start_epoch)
        self.add_callback("on_train_batch_end", TrialTrainer._end_batch)
        self.add_callback("on_train_epoch_end", TrialTrainer._end_epoch)
        self.add_callback("on_val_batch_end", lambda validator: self._end_val_batch())
        self.add_callback("on_fit_epoch_end", TrialTrainer._report_epoch)

    def measure_phases(self, meter: DeviceMeter) -> None:
        """Tell ``meter`` when validation begins and ends."""
        self.add_callback("on_val_start", lambda validator: meter.switch("val"))
        self.add_callback("on_val_end", lambda validator: meter.switch("train"))

    # Ultralytics ramps `accumulate` from 1 during warm-up and caps it silently
    # (engine/trainer.py, _do_train). The trial's value is constant; what the loop assigns is
    # dropped, while its learning-rate warm-up goes on. The loop compares it with the distance to
    # its last step, which is -1 when it starts: a run that goes on has that much further to go.
    @property
    def accumulate(self) -> int:
        """Micro-batches per optimizer step, as the training loop counts them."""
        return self.spec.accumulate + self._stepped_before

    @accumulate.setter
    def accumulate(self, value: int) -> None:
        pass

    @property
    def amp_dtype(self) -> str:
        """Dtype that autocast uses in this run; ``float32`` when AMP is off."""
        if not self.amp:
            return "float32"
        brain = self.device.type == "cpu" or self.spec.amp == "bf16"
        dtype = torch.bfloat16 if brain else torch.get_autocast_dtype("cuda")
        return str(dtype).removeprefix("torch.")

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> Any:
        """Pad all validation images to the one shape that the whole set needs.

        Ultralytics pads them to that of their batch, so what a model sees, and its mAP, would
        depend on the cell.
        """
        return super().build_dataset(img_path, mode, sys.maxsize if mode == "val" else batch)

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        """On the CPU leave out the table of layers and the count of FLOPs, a sixth of the set-up.

        Counting leaves anchors in the head, which on a GPU belong to what is measured.
        """
        return super().get_model(cfg, weights, verbose and self.device.type != "cpu")

    def resume_training(self, ckpt: Any) -> None:
        """Go on from the part's checkpoint, if it has one.

        Ultralytics' own way reloads half-precision weights and the arguments of an earlier run.
        ``ckpt`` is the pretrained model's.
        """
        if self.part.start is None:
            return
        self._state = checkpoint.read(self.part.start)
        checkpoint.restore(self, self._state)
        self.start_epoch = self._numbers.epoch = self._state["epochs"]

    def _build_train_pipeline(self) -> None:
        # Built once at the start; a second time only after an out-of-memory error, when
        # Ultralytics halves the batch and goes on as if nothing had happened.
        self.pipelines += 1
        if self.pipelines > 1:
            self.args.batch = self.batch_size = self.spec.batch
            raise OutOfMemory(f"batch={self.spec.batch} ran out of device memory")
        self._require_amp()
        super()._build_train_pipeline()
        self._require_images()
        split_batches(self.test_loader, self.spec.val_batch)
        self._numbers = number_samples(self.train_loader, self.spec.seed)
        total = len(self.train_loader) * self.epochs
        if self.spec.accumulate > total:
            raise TooShort(
                f"accumulate must not exceed the {total} micro-batches of this run "
                f"({len(self.train_loader)} per epoch x {self.epochs} epochs) but got "
                f"{self.spec.accumulate}. Lower accumulate or raise train.epochs."
            )

    def _require_images(self) -> None:
        facts = self.spec.dataset
        if facts is None:
            return
        wanted = facts.images if self.args.fraction == 1 else 0  # 0: not known
        splits = ("train", self.train_loader, wanted), ("val", self.test_loader, facts.val_images)
        for split, loader, known in splits:
            if known:
                images = loader.dataset.im_files
                require_images(Path(self.spec.data_yaml), split, images, known)

    def _require_bf16(self) -> None:
        """Refuse cards before Ampere ahead of all kernels; Ultralytics does in its first batch."""
        wanted = self.spec.amp == "bf16" and self.device.type == "cuda"
        if wanted and not torch.cuda.is_bf16_supported(including_emulation=False):
            name = torch.cuda.get_device_name(self.device)
            raise AmpRefused(f"amp=bf16 needs compute capability 8.0, which {name} has not")

    def _require_amp(self) -> None:
        """Hold Ultralytics to the AMP that was asked for; it has just run its check_amp().

        That refuses every CPU, where autocast() above works all the same.
        """
        if self.device.type == "cpu":
            self.amp = bool(self.spec.amp)
        elif self.spec.amp and not self.amp:
            name = torch.cuda.get_device_name(self.device)
            raise AmpRefused(f"Ultralytics' AMP check failed on {name}")

    def _close_dataloader_mosaic(self) -> None:
        super()._close_dataloader_mosaic()
        # The loop now resets the loader; its workers had read ahead.
        self._numbers.epoch = self.epoch

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Also keep a picture of the first batch."""
        batch = super().preprocess_batch(batch)
        if self.iterations == 0 and self.ema is not None:
            # The plotting thread scales the image and squeezes the labels it is given in place.
            copies = {k: v.cpu().clone() for k, v in batch.items() if torch.is_tensor(v)}
            self.plot_training_samples({**batch, **copies}, 0)
        return batch

    def optimizer_step(self) -> None:
        """Also count."""
        scale = self.scaler.get_scale()
        super().optimizer_step()
        self._stepped_before = 0
        skipped = self.scaler.get_scale() < scale
        self.optimizer_steps += not skipped
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if skipped else 0

    def _get_memory(self, fraction: bool = False) -> float:
        """Take the budget for the card's total, beyond half of which the cache is cleared.

        A capped large card then does what the small one would.
        """
        memory = float(super()._get_memory(fraction))
        if not fraction or self.device.type != "cuda":
            return memory
        total_gib = torch.cuda.get_device_properties(self.device).total_memory / GIB
        return memory * total_gib / min(total_gib, self.spec.limit_gib)

    def save_model(self) -> bool:
        """Write checkpoints only when the trial keeps its weights or asked for a period."""
        if not self.spec.keep_weights and self.save_period <= 0:
            return False
        return bool(super().save_model())

    def final_eval(self) -> None:
        """Strip the checkpoints; the last epoch was validated already."""
        for weights in (self.last, self.best):
            if weights.exists():
                engine.strip_optimizer(weights)

    def _handle_nan_recovery(self, epoch: int) -> bool:
        if self.fitness is not None and not math.isfinite(self.fitness):
            raise Diverged(f"the fitness became {self.fitness} in epoch {epoch + 1}")
        return False

    def _start(self) -> None:
        recompute(engine.unwrap_model(self.model), self.spec.checkpoint)  # not the EMA's copy
        self.started = self._saved = time.monotonic()

    def _start_epoch(self) -> None:
        self._epoch_started = time.monotonic()
        self._batch_ends = [self._epoch_started]
        seed_epoch(self.spec.seed, self.epoch)
        if self._state is not None:
            checkpoint.restore_in_loop(self, self._state)
            self._stepped_before = self.iterations - self.iterations % self.spec.accumulate
            self._state = None

    def _end_batch(self) -> None:
        self.iterations += 1
        self._refuse_divergence()  # waits for the device
        self._batch_ends.append(time.monotonic())
        self._refuse_fallback()
        self._show_life()

    def _refuse_divergence(self) -> None:
        """End a run that does not recover.

        Without a scaler, a loss that is not finite takes the weights with it. A scaler skips that
        step, but what BatchNorm has averaged stays spoiled, and every validation with it.
        """
        where = f"in epoch {self.epoch + 1}, micro-batch {self.iterations}"
        if not torch.isfinite(self.loss):
            said = f"the loss became {float(self.loss.detach())} {where}"
            if not self.scaler.is_enabled():
                raise Diverged(said)
            if not all(torch.isfinite(b).all() for b in engine.unwrap_model(self.model).buffers()):
                raise Diverged(f"{said}, and the statistics of BatchNorm with it")
        if self.skipped_in_a_row > MOST_SKIPPED_STEPS:
            raise Diverged(
                f"{self.skipped_in_a_row} optimizer steps in a row were skipped, because their "
                f"gradients were not finite, {where}"
            )

    def _end_val_batch(self) -> None:
        self._refuse_fallback()
        self._show_life()

    def _refuse_fallback(self) -> None:
        """A target assigner that ran out of memory goes on image by image, slowly.

        Such a cell does not fit. Training and validation have one each, end-to-end heads two
        (ultralytics/utils/tal.py, loss.py).
        """
        for model in (engine.unwrap_model(self.model), self.ema and self.ema.ema):
            criterion = getattr(model, "criterion", None)
            heads = (criterion, *(getattr(criterion, h, None) for h in ("one2many", "one2one")))
            if any(getattr(getattr(h, "assigner", None), "_oom_warned", False) for h in heads):
                raise OutOfMemory(
                    f"the target assigner of batch={self.spec.batch} ran out of memory"
                )

    def _show_life(self) -> None:
        self._on_batch(self.iterations, len(self.train_loader) * self.part.until)

    def _save_between(self) -> None:
        """Keep one checkpoint of this part, not more than some minutes old."""
        now = time.monotonic()
        if self.part.between is None or now - self._saved < CHECKPOINT_S:
            return
        earlier, self._saved_as = self._saved_as, self.part.between(self.epoch + 1)
        checkpoint.write(self._saved_as, checkpoint.capture(self))
        self._saved = now
        if earlier is not None:
            earlier.unlink(missing_ok=True)

    def _end_epoch(self) -> None:
        self._epoch_train_s = time.monotonic() - self._epoch_started

    def _report_epoch(self) -> None:
        losses = self.label_loss_items(self.tloss)
        report = EpochReport(
            epoch=self.epoch + 1,
            time=time.time(),
            map50=float(self.metrics["metrics/mAP50(B)"]),
            map50_95=float(self.metrics["metrics/mAP50-95(B)"]),
            train_loss=sum(losses.values()),
            val_loss=sum(float(v) for k, v in self.metrics.items() if k.startswith("val/")),
            train_time_s=self._epoch_train_s,
            learning_rate=float(self.optimizer.param_groups[0]["lr"]),
            epoch_s=self.epoch_time,  # from when this part began to train, or the last report
            batch_s=steady([end - begin for begin, end in pairwise(self._batch_ends)]),
        )
        if all(report.map50_95 > earlier.map50_95 for earlier in self.reports):
            self.class_map50 = self._map50_by_class()
        self.reports.append(report)
        self.paused = not self.stop and self.epoch + 1 == self.part.until
        self.stop |= self.paused
        if self.paused and self.part.end is not None:
            checkpoint.write(self.part.end, checkpoint.capture(self))
        elif not self.stop and self.epoch + 1 < self.part.until:
            self._save_between()
        self._on_epoch(report)

    def _map50_by_class(self) -> dict[str, float]:
        """Of the validation just done; classes without an object in it are left out."""
        found = self.validator.metrics
        pairs = zip(found.ap_class_index, found.box.ap50, strict=True)
        return {found.names[int(i)]: round(float(ap), CURVE_DIGITS) for i, ap in pairs}
