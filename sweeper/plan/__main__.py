"""``python -m sweeper.plan model=yolo11n,yolo11s vram=rtx3090,t4``: what fits on which card.

Takes the overrides and the sweep syntax of ``python -m sweeper -m``; needs no GPU and no data set.
Without a sweep: the study's default batches and amp. Without ``data``: 640 px, 80 classes.

  data.nc=3                        number of classes; or data=custom data.yaml=PATH
  plan.format=markdown             table | markdown | json | csv
  plan.output=FILE                 write there instead of to the terminal
  plan.plot=FILE.png               draw peak against batch, with the budget
  plan.effective_batch=64          images per optimizer step to reach (16)
  plan.boxes_per_image=20          mean objects per image after mosaic (your labels, else 8)
"""

from __future__ import annotations

import sys
from pathlib import Path

from sweeper.errors import readable_errors
from sweeper.plan.cells import inquire
from sweeper.plan.files import check_target, write_whole
from sweeper.plan.formats import render
from sweeper.plan.predictions import make_plan
from sweeper.study.space import plan_space

PLOTS = (".png", ".svg", ".pdf")


def main(overrides: list[str]) -> None:
    """Print, write and draw the plan.

    Raises:
        SweeperError: A person must act, as the message says; no plan has been written.
    """
    space = plan_space(overrides)
    settings = space.cells[0].settings
    wanted = settings.plan
    output = check_target("plan.output", wanted.output)
    plot = check_target("plan.plot", wanted.plot, PLOTS)
    plan = make_plan(inquire(space), Path(settings.runs_dir) / "cache" / "vram")
    text = render(plan, wanted.format)
    if plot is not None:
        from sweeper.plan.plot import draw  # matplotlib takes a second to import

        write_whole("plan.plot", plot, draw(plan, plot.suffix[1:]))
        print(f"drawn to {plot}", file=sys.stderr)
    if output is None:
        print(text, end="")
    else:
        write_whole("plan.output", output, text.encode())
        print(f"written to {output}", file=sys.stderr)


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        sys.exit()
    with readable_errors():
        main([argument for argument in sys.argv[1:] if argument not in ("-m", "--multirun")])
