"""The few constants that no trace can tell, fitted to published readings."""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.memory.predict.crowd import fullest_image


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a replay lacks, and how full the fullest image is. Fitted by benchmarks/bench_vram.py.

    Attributes:
        workspace_gib: cuDNN's fixed scratch space and what `check_amp` leaves behind, allocated
            through torch's allocator.
        workspace_share: cuDNN's scratch space that grows with the feature maps and the holes that
            batches of varying content leave, in GiB per GiB of activations.
        spread: Of the boxes per image, for `fullest_image`. The assigner pads every image of a
            batch to the fullest one, and reserved memory remembers the fullest batch.
        pairs: Bytes of every anchor and box that the target assigner holds beside what the
            installed release does: `programs.EARLIER_PAIRS` for readings of earlier releases.
        steps: Optimizer steps before validation; 1 for readings of an epoch of one batch.
    """

    workspace_gib: float = 0.06
    workspace_share: float = 0.025
    spread: float = 0.8
    pairs: tuple[int, ...] = ()
    steps: int = 2

    def fullest(self, boxes_per_image: float, images: int) -> float:
        """Padded boxes per image."""
        return fullest_image(boxes_per_image, images, self.spread)

    def workspace(self, activations_gib: float) -> float:
        """GiB to add to a replay."""
        return self.workspace_gib + self.workspace_share * activations_gib


FITTED = Calibration()
