"""Export a study whose trials were trained to the end as the truth of bench_answer.py.

    python -m sweeper -m experiment=demo batch=2,4,8 seed=0,1,2 study.rungs=[] study.name=truth
    python benchmarks/truth.py runs truth truth.json

Takes an hour and a half on one core. Without amp, which an older CPU emulates: a bfloat16 run
there takes eight times as long. truth_amp.json has the same cells with amp=true, in fp16 on an
H200, all at once on that one GPU (their times say nothing). truth_raccoon.json is made in the same
way from 160 + 40 images of raccoons, of which one study is recorded:

    python -m sweeper -m experiment=demo data=custom data.yaml=PATH data.imgsz=160 batch=2,8 \
        study.rungs=[] study.name=raccoon
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import Outcome

HERE = Path(__file__).parent


def curves(trials: Path) -> Iterator[dict[str, Any]]:
    """What the benchmark needs of every complete trial in a folder of trials."""
    for folder in TrialFolder.all_of(trials):
        spec, result = folder.read_spec(), folder.read_result()
        if result is None or result.outcome is not Outcome.COMPLETE:
            continue
        if len(result.epochs) == spec.epochs:
            yield {
                "batch": spec.batch,
                "accumulate": spec.accumulate,
                "amp": spec.amp,
                "lr0": spec.train_args.get("lr0"),
                "seed": spec.seed,
                "map50": [round(e.map50, 4) for e in result.epochs],
                "epoch_s": round(result.epoch_s, 3),
            }


def write(found: list[dict[str, Any]], file: Path) -> None:
    """One curve a line, so that a difference can be read."""
    rows = sorted(found, key=lambda c: (c["seed"], c["batch"], c["accumulate"], c["amp"]))
    file.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def main() -> None:
    runs, study, name = sys.argv[1:]
    found = list(curves(Path(runs) / study / "trials"))
    write(found, HERE / name)
    print(f"{len(found)} complete curves in {name}")


if __name__ == "__main__":
    main()
