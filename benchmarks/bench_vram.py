"""Compare predicted with published memory: python benchmarks/bench_vram.py [--replay]."""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that a checkout needs no install

from benchmarks.calibrate import GRID, IN_USE, REPLAYED, Fit, Replays, classes  # noqa: E402
from benchmarks.readings import FILES, Reading, load  # noqa: E402
from sweeper.memory.cards import load_card  # noqa: E402
from sweeper.memory.config import ASSUMED_BOXES, ASSUMED_IMAGES, MemoryConfig  # noqa: E402
from sweeper.memory.predict.architecture import find_architecture  # noqa: E402
from sweeper.memory.predict.bound import FACTORS, LEVEL, upper  # noqa: E402
from sweeper.memory.predict.cache import DEFAULT_DIR, load_trace  # noqa: E402
from sweeper.memory.predict.calibration import Calibration  # noqa: E402
from sweeper.memory.predict.peaks import replay_trace  # noqa: E402
from sweeper.memory.predict.programs import EARLIER_PAIRS  # noqa: E402
from sweeper.memory.verdict import verdict as judge_peak  # noqa: E402

OUT_OF_MEMORY = Path(__file__).with_name("published_oom.csv")
BOXES = [1, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]
NBS = 64  # Ultralytics' nominal batch: accumulate = round(nbs / batch)
SPARSE = 10  # objects per image, as printed, up to which the aims hold
UNDER = -0.05  # further below the reading than this counts as an under-estimate
CARDS = {  # as logs name them: a file of conf/vram/
    "Tesla T4": "t4",
    "Tesla P100-PCIE-16GB": "p100",
    "NVIDIA L4": "l4",
    "NVIDIA GeForce RTX 3090": "rtx3090",
    "NVIDIA GeForce RTX 4090": "rtx4090",
    "NVIDIA A100-SXM4-40GB": "a100_40",
}
OTHER_CARDS = {  # usable memory and context, GiB, by analogy
    "NVIDIA GeForce RTX 4070 Laptop GPU": (7.6, 0.35),
    "NVIDIA GeForce RTX 3050 6GB Laptop GPU": (5.6, 0.3),
    "NVIDIA GeForce RTX 3050 Laptop GPU": (3.7, 0.3),
    "NVIDIA GeForce RTX 3060 Laptop GPU": (5.7, 0.35),
    "NVIDIA GeForce RTX 3060 Ti": (7.6, 0.35),
    "NVIDIA GeForce RTX 3090 Ti": (23.6, 0.45),
    "NVIDIA GeForce RTX 4070 Ti SUPER": (15.6, 0.35),
    "Quadro T1000 with Max-Q Design": (3.8, 0.25),
    "NVIDIA GeForce GTX 1650": (3.8, 0.25),
}
CAUSES = {  # of the worst errors, by reading
    "published_vram.csv:15": "its epoch's last batch is one image: the mean is a guess",
    "published_vram_2.csv:3": "over 1000 boxes in an image (VisDrone)",
    "published_vram_2.csv:8": "dense; the fullest image is unknown",
    "published_vram_2.csv:12": "its mean comes from a last batch of few images",
    "published_vram_2.csv:22": "unknown",
    "published_vram_2.csv:36": "dense (BDD100K); the fullest image is unknown",
    "published_vram_2.csv:39": "older torch: cuDNN 8 took less here than on other cards",
    "published_vram_2.csv:48": "8.0.9: CIoU of all pairs; its last batch is 4 images",
    "published_vram_2.csv:52": "older torch: cuDNN 8 took less here than on other cards",
    "published_vram_2.csv:54": "older torch: cuDNN 8 took less here than on other cards",
}


def replayed(reading: Reading, boxes: Iterable[float], traces: Path) -> dict[str, object]:
    """What `replayed_vram.json` keeps of a reading, traced and replayed anew.

    What the log of a first epoch printed was read before validation.
    """
    trace = load_trace(find_architecture(reading.model), reading.nc, reading.amp, traces)
    steps = 1 if reading.one_batch else 2
    bare = Calibration(0, 0, spread=0, pairs=EARLIER_PAIRS, steps=steps)
    accumulates = round(NBS / reading.batch) > 1 and not reading.one_batch
    peaks = [
        replay_trace(
            trace,
            MemoryConfig(
                model=reading.model,
                nc=reading.nc,
                batch=reading.batch,
                accumulates=accumulates,
                amp=reading.amp,
                imgsz=reading.imgsz,
                optimizer=reading.optimizer,
                boxes_per_image=number,
            ),
            bare,
        ).training
        for number in boxes
    ]
    return {
        "activations": round(peaks[0].parts["activations"], 4),
        "reserved": [round(peak.reserved_gib, 4) for peak in peaks],
    }


def replay_all(readings: Sequence[Reading]) -> None:
    """Write `replayed_vram.json`: fifty models are traced, which takes minutes."""
    kept = {r.key: replayed(r, BOXES, ROOT / DEFAULT_DIR) for r in readings}
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(row)}" for key, row in kept.items())
    boxes = json.dumps(BOXES)
    REPLAYED.write_text(f'{{\n "boxes": {boxes},\n "readings": {{\n{lines}\n }}\n}}\n')


def summary(name: str, errors: Iterable[float]) -> str:
    """One line: number, median and 90th percentile of the error, its sign, under-estimates."""
    signed = list(errors)
    absolute = [abs(e) for e in signed]
    p90 = quantiles(absolute, n=10, method="inclusive")[-1] if len(absolute) > 1 else absolute[0]
    under = sum(e < UNDER for e in signed) / len(signed)
    return (
        f"{name:46s}  n {len(signed):3d}  median {median(absolute):6.1%}  p90 {p90:6.1%}"
        f"  signed median {median(signed):+6.1%}  under-estimates {under:6.1%}"
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """A reading with its prediction and bound, GiB, both made without its source."""

    reading: Reading
    kind: str
    predicted_gib: float
    upper_gib: float

    @property
    def error(self) -> float:
        """Relative; negative where the prediction is too low."""
        return self.predicted_gib / self.reading.gib - 1

    @property
    def covered(self) -> bool:
        """Whether the reading lies below the bound."""
        return self.reading.gib <= self.upper_gib

    @property
    def verdict(self) -> str:
        """What would have been said of it for the card that it ran on."""
        return verdict(self.reading.gpu, self.predicted_gib, self.upper_gib)


def verdict(gpu: str, predicted_gib: float, upper_gib: float) -> str:
    """Whether a training fits a card."""
    if gpu in CARDS:
        card = load_card(CARDS[gpu])
        assert card.total_gib is not None and card.context_gib is not None
        limit_gib, context_gib = card.total_gib - (card.margin_gib or 0), card.context_gib
    else:
        limit_gib, context_gib = OTHER_CARDS[gpu]
    return judge_peak(predicted_gib + context_gib, upper_gib + context_gib, limit_gib)


def judge(readings: Sequence[Reading], fit: Fit, level: float = LEVEL) -> list[Judged]:
    """Every reading, predicted and bounded without its source."""
    kinds = classes(readings, IN_USE.spread)
    predicted, bound = fit.held_out(kinds, level)
    rows = zip(readings, kinds, predicted, bound, strict=True)
    return [Judged(r, kind, float(p) * r.gib, float(b) * r.gib) for r, kind, p, b in rows]


def out_of_memory(traces: Path) -> list[tuple[str, str]]:
    """Published trainings that ran out of memory, and the verdict on each."""
    with OUT_OF_MEMORY.open(newline="") as lines:
        return [(_cell(row), _of_failure(row, traces)) for row in csv.DictReader(lines)]


def _of_failure(row: dict[str, str], traces: Path) -> str:
    batch, mean = int(row["batch"]), float(row["boxes_per_image"] or 0) or None
    config = MemoryConfig(
        model=row["model"],
        nc=int(row["nc"]),
        batch=batch,
        accumulates=round(NBS / batch) > 1,
        amp=True,
        imgsz=int(row["imgsz"]),
        optimizer="AdamW",
        boxes_per_image=mean or ASSUMED_BOXES,
        images=int(row["images"] or ASSUMED_IMAGES),
    )
    trace = load_trace(find_architecture(config.model), config.nc, True, traces)
    earlier = Calibration(IN_USE.workspace_gib, IN_USE.earlier_share, pairs=EARLIER_PAIRS)
    predicted_gib = replay_trace(trace, config, earlier).training.reserved_gib
    return verdict(row["gpu"], predicted_gib, upper(predicted_gib, mean))


def _cell(row: dict[str, str]) -> str:
    return (
        f"{row['model']} batch {row['batch']}, {row['imgsz']} px, {row['gpu']} ({row['source']})"
    )


def main() -> None:
    """Print the fit, what it would have said of readings that it has not seen, and the worst."""
    cli = argparse.ArgumentParser(description=__doc__)
    cli.add_argument("--replay", action="store_true", help="trace and replay every reading anew")
    readings = load()
    if cli.parse_args().replay:
        replay_all(readings)
    fit = Fit.of(readings, Replays())
    judged = judge(readings, fit)
    _print_fit(readings, fit)
    _print_errors(judged)
    _print_bound(judged)
    _print_verdicts(judged)
    _print_worst(judged)


def _print_fit(readings: Sequence[Reading], fit: Fit) -> None:
    print(f"{len(readings)} readings of {len(fit.costs)} sources in {len(FILES)} files")
    print(f"in use         {IN_USE}\nfitted to all  {GRID[fit.best()]}")
    print("\nfactor of the bound, fitted to all (in use)")
    kinds, scores = classes(readings, IN_USE.spread), fit.scores()
    for level in FACTORS["sparse"]:
        found = fit.factors(kinds, level, scores)
        cells = [f"{k} {f:.3f} ({FACTORS[k][level]})" for k, f in found.items()]
        print(f"  {level:.0%}  {'  '.join(cells)}")


def _print_errors(judged: Sequence[Judged]) -> None:
    print("\nprediction, each reading without its source")
    for name, rows in _groups(judged).items():
        print(summary(name, (j.error for j in rows)))


def _print_bound(judged: Sequence[Judged]) -> None:
    print(f"\n{LEVEL:.0%} bound, constants and factor fitted without the reading's source")
    for name, rows in _groups(judged).items():
        covered = sum(j.covered for j in rows) / len(rows)
        above = median(j.upper_gib / j.predicted_gib - 1 for j in rows)
        over = max(j.upper_gib / j.reading.gib for j in rows)
        print(
            f"{name:46s}  n {len(rows):3d}  covers {covered:6.1%}"
            f"  above the prediction, median {above:6.1%}  bound/reading, worst {over:.2f}"
        )
    for clears in sorted({j.reading.clears for j in judged}):
        rows = [j for j in judged if j.reading.clears == clears]
        below = sum(j.reading.most_gib <= j.upper_gib for j in rows)
        name = f"most of any epoch, cache emptied {clears}"
        print(f"{name:46s}  n {len(rows):3d}  covers {below / len(rows):6.1%}")


def _groups(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    def some(key: str) -> list[Judged]:
        return [j for j in judged if j.kind == key]

    return {
        "all": list(judged),
        f"up to {SPARSE} objects/image as printed": [
            j for j in judged if j.reading.printed_density <= SPARSE
        ],
        f"up to {SPARSE} objects/image of the last batch": [
            j for j in judged if j.reading.last_density <= SPARSE
        ],
        f"more than {SPARSE} of the last batch": [
            j for j in judged if j.reading.last_density > SPARSE
        ],
        "sparse by the estimated mean": some("sparse"),
        "dense by the estimated mean": some("dense"),
        "cuDNN 9, Volta and later": [j for j in judged if j.reading.modern],
        "earlier": [j for j in judged if not j.reading.modern],
    }


def _print_verdicts(judged: Sequence[Judged]) -> None:
    print("\nverdict for the card it ran on (all of these ran)")
    print(f"  {dict(Counter(str(j.verdict) for j in judged))}")
    for j in judged:
        if j.verdict != "fits":
            print(f"  {j.verdict:5s} {_line(j)}")
    print("verdict on trainings that ran out of memory")
    for cell, said in out_of_memory(ROOT / DEFAULT_DIR):
        print(f"  {said:5s} {cell}")


def _print_worst(judged: Sequence[Judged]) -> None:
    print("\nworst ten predictions, and the likely cause")
    worst = sorted(judged, key=lambda j: -abs(math.log1p(j.error)))[:10]
    for j in worst:
        print(f"  {_line(j)}  {CAUSES.get(j.reading.key, 'not known')}")


def _line(j: Judged) -> str:
    r = j.reading
    return (
        f"{r.key:24s} {r.model:8s} b{r.batch:<3d} {r.imgsz:4d} px {r.gpu:24.24s} "
        f"read {r.gib:6.2f} predicted {j.predicted_gib:6.2f} ({j.error:+4.0%}) "
        f"at most {j.upper_gib:6.2f}"
    )


if __name__ == "__main__":
    main()
