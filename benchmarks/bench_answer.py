"""How good the recommended cell is after the whole run, by policy, and what finding it costs.

    python benchmarks/bench_answer.py

Replays the curves of ``truth.json`` (made by truth.py) and those of synthetic worlds: a curve does
not depend on the other trials, so a replay is exact. The truth of a cell is the mean over seeds of
its mAP@0.5 in the best epoch, whose weights one would keep (best.pt), and in the last one. Times
are those of an idle core (`idle_epoch_s`), as the truth may have been recorded on a busy machine;
that of amp is assumed.

The worlds fall as power laws do, which is what sweeper expects: they show what breaks it, not how
good it is. Its constants were tuned on other worlds of these kinds, `_LIKELY` with these in view.

Regret: points of mAP@0.5 that the chosen cell lies below the best. Time: how much longer its whole
run takes than the fastest of those that cannot be told from the best, that is within 2 standard
errors. Tau: Kendall's tau-b of the order at the last rung against that at the end. Cost: training
seconds over those of the whole grid.

Then, where only a third of the cells may be trained: how good the best of those is, by who chooses
them. The samplers of Optuna see each whole run before they choose the next. Last, how often a run
ended in the interval that its curve had let expect at a rung.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import statistics
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, PercentilePruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from scipy.stats import kendalltau
from worlds import KINDS, Run, idle_epoch_s, make_world

from sweeper.study.sharing import spread_order
from sweeper.trial.field import Standing
from sweeper.trial.rungs import choose, default_rungs, ends, judge_rung
from sweeper.trial.spec import TrialSpec

HERE = Path(__file__).parent
DIGITS, AMP, RACCOON = (HERE / f"truth{name}.json" for name in ("", "_amp", "_raccoon"))
FULL = 18  # curves of the digits: 6 cells without amp, 3 seeds
WORLDS = 12  # of each kind
ORDERS = 3  # of arrival
DRAWS = 1  # of a third of the cells
FEWEST_CELLS = 4  # that a seed has to have run for a replay to say anything
LEAST_NOISE = 0.005  # standard deviation between seeds, where one seed or chance says less

Cell = tuple[int, int, bool]


@dataclass(frozen=True, slots=True)
class Choice:
    """What a policy comes to in one study: the cell, the cost and the order at its last rung."""

    chosen: Run
    seconds: float
    order: dict[Cell, float]


Policy = Callable[[Sequence[Run]], Choice]
Sampling = Callable[[Sequence[Run], int, int], list[Run]]  # runs, how many, seed


@dataclass(frozen=True, slots=True)
class Score:
    """One study's numbers; regret in points, the others as shares."""

    regret: float
    time: float
    tau: float
    cost: float


def standing(number: int, run: Run, epochs: int) -> Standing:
    """The cell at a rung."""
    return Standing(
        number, run.label, len(run.map50), run.map50[:epochs], run.epoch_s, None, run.effective
    )


def leads(run: Run, runs: Sequence[Run]) -> bool:
    """Whether no cell takes the same optimizer steps in larger micro-batches."""
    same = [r for r in runs if (r.effective, r.amp) == (run.effective, run.amp)]
    return run.batch == max(r.batch for r in same)


def ours(runs: Sequence[Run]) -> Choice:
    """sweeper.trial.rungs, at its default rungs, one cell for those that take the same steps."""
    going, trained = [i for i, run in enumerate(runs) if leads(run, runs)], [0] * len(runs)
    for rung in default_rungs(len(runs[0].map50)) or (len(runs[0].map50),):
        at_rung = [standing(i, runs[i], rung) for i in going]
        for i in going:
            trained[i] = rung
        going = list(judge_rung(at_rung).going)
        if len(going) == 1:
            break
    last = [s for s in at_rung if s.number in going]
    known = ends(at_rung)
    order = {runs[s.number].cell: o.map50 if (o := known.get(s.label)) else 0.0 for s in at_rung}
    seconds = sum(n * run.epoch_s for n, run in zip(trained, runs, strict=True))
    return Choice(runs[choose(last).order[0]], seconds, order)


def pruned(make: Callable[[int], BasePruner]) -> Policy:
    """A pruner of Optuna's over trials in the order they come, then the best that ended."""

    def replay(runs: Sequence[Run]) -> Choice:
        epochs = len(runs[0].map50)
        study = optuna.create_study(  # Hyperband draws its brackets by the study's name
            study_name="replay", direction="maximize", pruner=make(epochs)
        )
        seconds, ended, order = 0.0, {}, {}
        for i, run in enumerate(runs):
            trial = study.ask()
            for epoch, value in enumerate(run.map50, 1):
                seconds += run.epoch_s
                trial.report(value, epoch)
                if epoch < epochs and trial.should_prune():
                    study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                    break
            else:
                study.tell(trial, run.map50[-1])
                ended[i] = run.map50[-1]
            order[run.cell] = value
        return Choice(runs[max(ended, key=lambda i: ended[i])], seconds, order)

    return replay


def random_cell(runs: Sequence[Run]) -> Choice:
    """The first in a random order, untrained."""
    return Choice(runs[0], 0.0, {})


def largest_batch(runs: Sequence[Run]) -> Choice:
    """The largest batch, without accumulate and amp where there is one."""
    return Choice(min(runs, key=lambda r: (r.accumulate > 1, r.amp, -r.batch)), 0.0, {})


def first_epochs(runs: Sequence[Run]) -> Choice:
    """The best after the first rung, by mAP@0.5 alone."""
    rung = default_rungs(len(runs[0].map50))[0]
    best = max(runs, key=lambda r: r.map50[rung - 1])
    order = {r.cell: r.map50[rung - 1] for r in runs}
    return Choice(best, sum(rung * r.epoch_s for r in runs), order)


def whole_grid(runs: Sequence[Run]) -> Choice:
    """Every cell to the end once, then the best."""
    best = max(runs, key=lambda r: r.map50[-1])
    seconds = sum(len(r.map50) * r.epoch_s for r in runs)
    return Choice(best, seconds, {r.cell: r.map50[-1] for r in runs})


POLICIES: dict[str, Policy] = {
    "sweeper": ours,
    "percentile": pruned(
        lambda e: PercentilePruner(100 / 3, n_startup_trials=3, n_warmup_steps=max(2, e // 3))
    ),
    "asha": pruned(
        lambda e: SuccessiveHalvingPruner(min_resource=default_rungs(e)[0], reduction_factor=2)
    ),
    "hyperband": pruned(
        lambda e: HyperbandPruner(
            min_resource=default_rungs(e)[0], max_resource=e, reduction_factor=2
        )
    ),
    "best at rung 1": first_epochs,
    "random cell": random_cell,
    "largest batch": largest_batch,
    "whole grid": whole_grid,
}


def farthest(runs: Sequence[Run], count: int, seed: int) -> list[Run]:
    """What `study.n_trials` takes."""
    return [runs[i] for i in spread_order([spec(r) for r in runs], count)[:count]]


def spec(run: Run) -> TrialSpec:
    """The cell as the study knows it."""
    cell = run.batch, run.accumulate, run.amp
    return TrialSpec("", 0, "", *cell, "", "", "", "", 0, 0.0, 0, 0, "", run.seed, 0.0)


def at_random(runs: Sequence[Run], count: int, seed: int) -> list[Run]:
    """Any of them."""
    return random.Random(seed).sample(runs, count)


def sampled(make: Callable[[int], BaseSampler]) -> Sampling:
    """By a sampler of Optuna's over log2(batch), log2(accumulate) and amp."""

    def sample(runs: Sequence[Run], count: int, seed: int) -> list[Run]:
        by_cell = {r.cell: r for r in runs}
        batches, accumulates, amps = (sorted({r.cell[i] for r in runs}) for i in range(3))
        study = optuna.create_study(direction="maximize", sampler=make(seed))
        chosen: dict[Cell, Run] = {}
        for _ in range(20 * count):  # it may ask for a cell again
            trial = study.ask()
            indices = (
                trial.suggest_int(name, 0, len(values) - 1)
                for name, values in zip("abc", (batches, accumulates, amps), strict=True)
            )
            cell = tuple(v[i] for v, i in zip((batches, accumulates, amps), indices, strict=True))
            if cell not in by_cell:  # the truth is not complete
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                continue
            chosen[cell] = by_cell[cell]
            study.tell(trial, by_cell[cell].map50[-1])
            if len(chosen) == count:
                break
        return list(chosen.values())

    return sample


SAMPLINGS: dict[str, Sampling] = {
    "farthest apart": farthest,
    "random": at_random,
    "TPE": sampled(lambda seed: TPESampler(seed=seed, multivariate=True, n_startup_trials=2)),
    "GP": sampled(lambda seed: GPSampler(seed=seed, n_startup_trials=2)),
}


def sampling_regrets(worlds: Sequence[Sequence[Run]], sampling: Sampling) -> list[float]:
    """Points that the best of a third of the cells lies below the best of all, by seed."""
    regrets, draws = [], itertools.count()
    for runs in worlds:
        means = means_of(runs, best_epoch=True)
        for study in seeds_of(runs).values():
            for _ in range(DRAWS):
                chosen = sampling(study, len(study) // 3, next(draws))
                found = max(chosen, key=lambda r: max(r.map50))
                regrets.append(100 * (max(means.values()) - means[found.cell]))
    return regrets


def score(choice: Choice, runs: Sequence[Run], ends: dict[Cell, list[float]]) -> Score:
    """The numbers of a choice against the ends of all seeds."""
    means = {cell: statistics.fmean(values) for cell, values in ends.items()}
    spread = [statistics.variance(v) for v in ends.values() if len(v) > 1]
    noise = max(math.sqrt(statistics.fmean(spread)) if spread else 0.0, LEAST_NOISE)
    seeds = min(len(values) for values in ends.values())
    best = max(means.values())
    equals = [r for r in runs if means[r.cell] >= best - 2 * noise * math.sqrt(2 / seeds)]
    fastest = min(r.epoch_s for r in equals)
    tau = math.nan
    if choice.order:
        at_end = [means[cell] for cell in choice.order]
        tau = kendalltau(list(choice.order.values()), at_end).statistic
    return Score(
        100 * (best - means[choice.chosen.cell]),
        max(choice.chosen.epoch_s / fastest - 1, 0.0),
        tau,
        choice.seconds / sum(len(r.map50) * r.epoch_s for r in runs),
    )


def ends_of(runs: Sequence[Run], best_epoch: bool) -> dict[Cell, list[float]]:
    """mAP@0.5 at the end of each seed, by cell."""
    ends: dict[Cell, list[float]] = defaultdict(list)
    for run in runs:
        ends[run.cell].append(max(run.map50) if best_epoch else run.map50[-1])
    return ends


def means_of(runs: Sequence[Run], best_epoch: bool) -> dict[Cell, float]:
    """The same, mean over seeds."""
    return {cell: statistics.fmean(v) for cell, v in ends_of(runs, best_epoch).items()}


def seeds_of(runs: Sequence[Run]) -> dict[int, list[Run]]:
    """One study for every seed that has cells enough."""
    by_seed: dict[int, list[Run]] = defaultdict(list)
    for run in runs:
        by_seed[run.seed].append(run)
    return {seed: study for seed, study in by_seed.items() if len(study) >= FEWEST_CELLS}


def replay(runs: Sequence[Run], policy: Policy, best_epoch: bool, orders: int) -> list[Score]:
    """One score for every seed and order of arrival."""
    ends, rng = ends_of(runs, best_epoch), random.Random(0)
    return [
        score(policy(rng.sample(study, len(study))), study, ends)
        for study in seeds_of(runs).values()
        for _ in range(orders)
    ]


def read_truth(file: Path) -> list[Run]:
    """The recorded runs, with the times of an idle machine where the grid's are known."""
    return [
        Run(
            c["batch"],
            c["accumulate"],
            c["amp"],
            c["seed"],
            tuple(c["map50"]),
            idle_epoch_s(c["batch"], c["accumulate"], c["amp"]),
        )
        for c in json.loads(file.read_text())
    ]


def show(title: str, scores: dict[str, list[Score]]) -> None:
    """A table: median and worst by policy."""
    studies = len(next(iter(scores.values())))
    if not studies:
        print(f"\n{title}: no seed has {FEWEST_CELLS} cells yet, nothing to replay")
        return
    print(f"\n{title}: {studies} studies; median (worst)")
    print(f"{'policy':<16} {'regret, points':>16} {'time':>14} {'tau-b':>14} {'cost':>14}")
    for name, found in scores.items():
        taus = [s.tau for s in found if not math.isnan(s.tau)]
        regrets, times, costs = (
            [getattr(s, f) for s in found] for f in ("regret", "time", "cost")
        )
        tau = f"{statistics.median(taus):.2f} ({min(taus):.2f})" if taus else "–"
        print(
            f"{name:<16} {statistics.median(regrets):>8.2f} ({max(regrets):.2f})"
            f" {statistics.median(times):>6.0%} ({max(times):.0%}) {tau:>14}"
            f" {statistics.median(costs):>6.0%} ({max(costs):.0%})"
        )


def show_aims(scores: list[Score]) -> None:
    """Whether the policy reaches what it is meant to reach."""
    regrets = [s.regret for s in scores]
    reached = {
        "regret <= 0.5 in the median": statistics.median(regrets) <= 0.5,
        "<= 1.5 at worst": max(regrets) <= 1.5,
        "time <= 10 % in the median": statistics.median(s.time for s in scores) <= 0.1,
        "cost <= 25 % in the median": statistics.median(s.cost for s in scores) <= 0.25,
    }
    print(
        "aims of sweeper:", "; ".join(f"{a}: {'yes' if r else 'NO'}" for a, r in reached.items())
    )


def show_samplings(studies: dict[str, Sequence[Sequence[Run]]]) -> None:
    """A table: mean and worst regret by who chooses a third of the cells."""
    print("\na third of the cells, each to its end: regret of the best, points; mean (worst)")
    print(f"{'':<28}" + "".join(f"{name:>16}" for name in SAMPLINGS))
    for title, worlds in studies.items():
        found = (sampling_regrets(worlds, sampling) for sampling in SAMPLINGS.values())
        cells = (f"{statistics.fmean(r):.2f} ({max(r):.2f})" if r else "–" for r in found)
        print(f"{title:<28}" + "".join(f"{cell:>16}" for cell in cells))


def show_intervals(truth: dict[str, Sequence[Run]]) -> None:
    """How many whole runs ended within what a rung had let expect, 4 times of 5."""
    print("\nended within the interval expected at a rung, by mAP@0.5 there")
    inside: dict[str, list[bool]] = defaultdict(list)
    for title, runs in truth.items():
        for study in seeds_of(runs).values():
            for rung in default_rungs(len(study[0].map50)):
                known = ends([standing(i, run, rung) for i, run in enumerate(study)])
                for run in study:
                    if end := known.get(run.label):
                        height = "below 0.5" if run.map50[rung - 1] < 0.5 else "above"
                        kept = end.low <= max(run.map50) <= end.high
                        inside[height].append(kept)
                        inside[title].append(kept)
    for name, kept in inside.items():
        print(f"{name:<28}{sum(kept):>4} of {len(kept)}: {statistics.fmean(kept):.0%}")


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    truth, amp, check = read_truth(DIGITS), read_truth(AMP), read_truth(RACCOON)
    print(f"truth: {len(truth)} of {FULL} curves{'' if len(truth) >= FULL else ', preliminary'}")
    worlds = {f"synthetic, {kind}": [make_world(kind, i) for i in range(WORLDS)] for kind in KINDS}
    studies: list[tuple[str, Sequence[Sequence[Run]], bool, int]] = [
        ("digits, best epoch", [truth], True, 20),
        ("digits, last epoch", [truth], False, 20),
        ("digits with amp, which chose nothing, best epoch", [amp], True, 20),
        ("digits with amp, last epoch", [amp], False, 20),
        ("digits, all cells, best epoch", [truth + amp], True, 20),
        ("digits, all cells, last epoch", [truth + amp], False, 20),
        ("raccoon, which chose nothing, best epoch", [check], True, 20),
        ("raccoon, last epoch", [check], False, 20),
        *((title, found, True, ORDERS) for title, found in worlds.items()),
    ]
    for title, found, best_epoch, orders in studies:
        scores = {
            name: [s for runs in found for s in replay(runs, policy, best_epoch, orders)]
            for name, policy in POLICIES.items()
        }
        show(title, scores)
        if scores["sweeper"]:
            show_aims(scores["sweeper"])
    show_samplings({"digits": [truth], **worlds})
    show_intervals({"digits": truth, "digits with amp": amp, "raccoon": check})


if __name__ == "__main__":
    main()
