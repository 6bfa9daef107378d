"""The few constants that no trace can tell, fitted to published readings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a replay lacks, and how full the fullest image is. Fitted by benchmarks/bench_vram.py.

    Attributes:
        workspace_gib: cuDNN's fixed scratch space and what `check_amp` leaves behind, allocated
            through torch's allocator.
        workspace_share: cuDNN's scratch space that grows with the feature maps and the holes that
            batches of varying content leave, in GiB per GiB of activations.
        fullest_base: Boxes in an epoch's fullest image, above `fullest_factor` times the mean. The
            assigner pads every image of a batch to the fullest one, and reserved memory remembers
            the fullest batch.
        fullest_factor: See `fullest_base`.
        pairs: Bytes of every anchor and box that the target assigner holds beside what the
            installed release does: `programs.EARLIER_PAIRS` for readings of earlier releases.
    """

    workspace_gib: float = 0.03
    workspace_share: float = 0.05
    fullest_base: float = 4.0
    fullest_factor: float = 4.0
    pairs: tuple[int, ...] = ()

    def fullest(self, boxes_per_image: float) -> float:
        """Padded boxes per image."""
        return self.fullest_base + self.fullest_factor * boxes_per_image

    def workspace(self, activations_gib: float) -> float:
        """GiB to add to a replay."""
        return self.workspace_gib + self.workspace_share * activations_gib


FITTED = Calibration()
