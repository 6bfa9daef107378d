"""What the memory of a training depends on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sweeper.trial.spec import Amp, TrialSpec

TraceKey = tuple[str, int, bool, str, int]

# Where the data set is not known: about the mean of COCO128, 929 objects in 128 images, and an
# epoch of a small set.
ASSUMED_BOXES = 8.0
ASSUMED_IMAGES = 1000


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """All that the peak of a training depends on: equal configs have equal peaks.

    Attributes:
        model: What Ultralytics loads: a name, or the path of a ``.yaml`` or ``.pt`` file.
        nc: Number of classes.
        batch: Images per forward/backward.
        accumulates: Whether an optimizer step takes more than one micro-batch: gradients are then
            held through a forward, and how many micro-batches there are does not matter.
        amp: The autocast: none, fp16 (True) or bf16, which take the same memory.
        imgsz: Image side, pixels.
        optimizer: Its name.
        boxes_per_image: Mean number of objects per image of a batch, after mosaic.
        images: Images that the whole run draws: the more, the fuller the fullest of them.
        fullest_image: Boxes of the fullest one, counted in the labels; None: it is derived from
            the two above.
        expandable: Whether the allocator's segments grow.
        checkpoint: Layers whose activations the backward computes again: ``none``, ``backbone`` or
            ``all``.
        val_batch: Largest number of images that are validated at once; None: twice the batch.
        freeze: Layers, from the first on, that are not trained.
    """

    model: str
    nc: int
    batch: int
    accumulates: bool
    amp: Amp
    imgsz: int
    optimizer: str
    boxes_per_image: float
    images: int = ASSUMED_IMAGES
    fullest_image: int | None = None
    expandable: bool = False
    checkpoint: str = "none"
    val_batch: int | None = None
    freeze: int = 0

    @classmethod
    def of(cls, spec: TrialSpec) -> MemoryConfig:
        """The config of a trial."""
        return cls(
            model=spec.model_file,
            nc=spec.nc,
            batch=spec.batch,
            accumulates=spec.accumulate > 1,
            amp=spec.amp,
            imgsz=spec.imgsz,
            optimizer=spec.optimizer,
            boxes_per_image=spec.boxes_per_image,
            images=spec.images or ASSUMED_IMAGES,
            fullest_image=spec.fullest_image,
            expandable=spec.allocator == "expandable",
            checkpoint=spec.checkpoint,
            val_batch=spec.val_batch,
            freeze=spec.freeze,
        )

    @property
    def allocator(self) -> str:
        """The allocator as ``memory.allocator`` names it."""
        return "expandable" if self.expandable else "default"

    @property
    def validated(self) -> int:
        """Images that are validated at once."""
        return min(2 * self.batch, self.val_batch or 2 * self.batch)

    @property
    def trace_key(self) -> TraceKey:
        """The same for configs that are predicted from one trace."""
        return self.model, self.nc, bool(self.amp), self.checkpoint, self.freeze

    @property
    def memory_class(self) -> MemoryConfig:
        """The same for configs that differ only in batch; the peak grows with it."""
        return replace(self, batch=1, fullest_image=None)

    def with_batch(
        self, batch: int, accumulate: int, fullest_image: int | None = None
    ) -> MemoryConfig:
        """The same training with another batch and accumulate."""
        accumulates = accumulate > 1
        return replace(self, batch=batch, accumulates=accumulates, fullest_image=fullest_image)
