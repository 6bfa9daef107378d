"""``python -m sweeper.plan model=yolo11n,yolo11s vram=rtx3090,t4``: what fits on which card.

Takes the overrides and the sweep syntax of ``python -m sweeper -m``; needs no GPU and no data set,
unless ``plan.verify=true`` asks the card that is here whether the plan is true of it.
Without a sweep: the study's default batches and amp. Without ``data``: 640 px, 80 classes.

  data.nc=3                        number of classes; or data=custom data.yaml=PATH
  plan.format=markdown             table | markdown | json | csv
  plan.output=FILE                 write there instead of to the terminal
  plan.plot=FILE.png               draw peak against batch, with the budget
  plan.effective_batch=64          images per optimizer step to reach (16)
  plan.boxes_per_image=20          mean objects per image after mosaic (your labels, else 8)
  plan.ladder=true                 the levers that make room for it, the cheapest first
  plan.verify=true                 train a few steps with the largest batches on the card here, or
                                   with vram.emulated=true on an emulated one (not in csv)
  plan.export=readings.csv         write what was measured so, to contribute it; names no one
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from sweeper.fork_server import start_fork_server
from sweeper.tools import run_tool

TRACES = Path("runs/cache/vram")  # where nothing is there yet, torch is needed
PLOTS = (".png", ".svg", ".pdf")


def main(overrides: list[str]) -> None:
    """Print, write and draw the plan, verified if it is to be.

    Raises:
        SweeperError: A person must act, as the message says. No plan has been written, unless a
            training ended in a way that says nothing about memory.
    """
    if not any(TRACES.glob("*.trace")) and not any("plan.verify" in o for o in overrides):
        start_fork_server("sweeper.plan.preload")  # while this process imports the rest
    from sweeper.errors import MachineError
    from sweeper.executors.emulated import emulate
    from sweeper.executors.supervise import warm_up
    from sweeper.numbers import count
    from sweeper.plan.export import readings
    from sweeper.plan.files import check_target, write_whole
    from sweeper.plan.formats import render
    from sweeper.plan.inquiry import inquire
    from sweeper.plan.ladder import make_ladder
    from sweeper.plan.ladder_formats import render_ladder
    from sweeper.plan.predictions import make_plan
    from sweeper.plan.verify import card_here, verify
    from sweeper.study.space import plan_space

    space = plan_space(overrides)
    settings = space.cells[0].settings
    wanted = settings.plan
    output = check_target("plan.output", wanted.output)
    plot = check_target("plan.plot", wanted.plot, PLOTS)
    export = check_target("plan.export", wanted.export, (".csv",))
    if wanted.verify:
        emulate(settings.vram, settings.executor, compute="light")
    inquiry = inquire(space)
    device = card_here(inquiry) if wanted.verify else None
    if device is not None:
        warm_up()
    gc.freeze()  # else this process looks for cycles in all that it imported before it ends
    cache_dir = Path(settings.runs_dir) / "cache" / "vram"
    if wanted.ladder:
        cells = count(len(inquiry.requests), "cell")
        print(f"predicting {cells}, a minute where {cache_dir} is empty", file=sys.stderr)
    make = make_ladder if wanted.ladder else make_plan
    plan = make(inquiry, cache_dir)
    verification = verify(plan, device, settings) if device is not None else None
    if wanted.ladder:
        text = render_ladder(plan, wanted.format)
    else:
        text = render(plan, wanted.format, verification)
    if plot is not None:
        from sweeper.plan.plot import draw  # matplotlib takes a second to import

        write_whole("plan.plot", plot, draw(plan, plot.suffix[1:]))
        print(f"drawn to {plot}", file=sys.stderr)
    if output is None:
        print(text, end="")
    else:
        write_whole("plan.output", output, text.encode())
        print(f"written to {output}", file=sys.stderr)
    if verification is not None and export is not None:
        write_whole("plan.export", export, readings(verification).encode())
        print(f"exported to {export}", file=sys.stderr)
    if verification is not None and verification.fault:
        raise MachineError(verification.fault)


if __name__ == "__main__":
    run_tool(main, __doc__)
