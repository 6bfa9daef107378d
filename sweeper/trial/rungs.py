"""Which cells go on at a rung of the whole run, and which one is taken after the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.trial.curves import FOUR_OF_FIVE, Outlook
from sweeper.trial.field import MARGIN, SURE, Cell, Field, Standing
from sweeper.trial.gap import Gap

_SHARES = (0.15, 0.25, 0.35)  # of the whole run: the rungs
_FEWEST_EPOCHS = 10  # of a run that is worth dividing
_FIRST_RUNG = 3

_CHOICE_MARGIN = 0.002
_LIKELY = 0.15  # standard deviations: of the choice 11 of 20, as something has to be chosen


@dataclass(frozen=True, slots=True)
class Judgement:
    """Who goes on from a rung, by number, and for each of the others why not."""

    going: tuple[int, ...]
    out: dict[int, str]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which cell is taken.

    Attributes:
        order: A trial of each cell: of the one taken, then of the others, the best expected end
            first.
        passed: Why each of the others is not taken, by label.
    """

    order: tuple[int, ...]
    passed: dict[str, str]


def default_rungs(epochs: int) -> tuple[int, ...]:
    """Where a run of so many epochs is judged; nowhere when it is too short to be divided."""
    if epochs < _FEWEST_EPOCHS:
        return ()
    return tuple(sorted({max(_FIRST_RUNG, round(share * epochs)) for share in _SHARES}))


def judge_rung(standings: Sequence[Standing]) -> Judgement:
    """Judge all cells that stand at a rung together, whatever their order.

    A cell goes out when it is surely behind the best one, or when one that ends sooner is surely
    no worse; between cells of one effective batch the second holds until the contrary is shown.
    Standings with the same label are seeds of one cell: their mean is judged.
    """
    field = Field.of(standings)
    out: dict[int, str] = {}
    going: list[Cell] = []
    for cell in field.cells:
        reason = field.behind(cell, SURE, MARGIN) or field.no_better(cell, going)
        if not reason:
            going.append(cell)
            continue
        for s in cell.seeds:
            so_far = f"{len(s.curve)} of {s.epochs} epochs: {field.expected(cell)}"
            out[s.number] = f"stopped after {so_far}{reason}"
    return Judgement(tuple(sorted(s.number for cell in going for s in cell.seeds)), out)


def choose(standings: Sequence[Standing]) -> Choice:
    """The choice after the last rung, or between whole runs.

    Of the cells that cannot be told from the best end, the one whose whole run ends first, then
    the one with more memory to spare. Where nothing has begun to learn, the best so far.

    Raises:
        ValueError: There is no standing.
    """
    field = Field.of(standings)
    begun = [cell for cell in field.cells if field.knows(cell)]
    begun = begun or sorted(field.cells, key=lambda c: -c.best_so_far)
    behind = {c.label: field.behind(c, _LIKELY, _CHOICE_MARGIN) for c in begun}
    taken = next(c for c in begun if not behind[c.label])
    others = sorted((c for c in field.cells if c is not taken), key=field.by_end)
    return Choice(
        tuple(cell.stands_for.number for cell in (taken, *others)),
        {c.label: behind.get(c.label) or field.no_sooner(c, taken) for c in others},
    )


def ends(standings: Sequence[Standing]) -> dict[str, Outlook]:
    """What each cell comes to at its end, by label, as the mean over its seeds.

    Of a whole run it is what was reached, and the interval that of the mean of many seeds. A cell
    of which nothing can be expected yet is left out.
    """
    field = Field.of(standings)
    return {label: end.outlook for label, end in field.ends.items()}


def leads(standings: Sequence[Standing], label: str) -> dict[str, Gap]:
    """How far the end of a cell lies above that of each other, 4 times of 5."""
    field = Field.of(standings)
    upper = field.ends.get(label)
    others = field.ends.items() if upper else ()
    return {n: Gap.of(end, upper, FOUR_OF_FIVE) for n, end in others if upper and n != label}
