"""What a reader must know before trusting the numbers."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.memory.verdict import Verdict, reading_verdict
from sweeper.numbers import count
from sweeper.report.findings import Findings
from sweeper.report.markdown import literal, verbatim
from sweeper.trial.command import doctor_command
from sweeper.trial.readings import EMULATED, MEASURED, SIMULATED
from sweeper.trial.record import FINGERPRINT, Outcome
from sweeper.trial.study_record import RecordedTrial

# Ultralytics trains 100 epochs by default; the ranking of much shorter runs may turn around.
BRIEF_EPOCHS = 50
SELECTION = ("classes", "single_cls")  # of boxes, by arguments of Ultralytics

BY_SIMULATION = (
    "Memory is simulated: the training step is traced and replayed through a model of the CUDA "
    "allocator. It was not measured on the card; leave some room below the budget."
)
BY_EMULATION = (
    "Memory is emulated: torch's own allocator ran on a card made of host memory. What cuDNN "
    "takes on a real one is missing; leave some room below the budget."
)
AT_THE_EDGE = (
    "At the edge of the budget: {}. torch's allocator had to flush its cache to go on, which "
    "takes time, and a batch with more objects may not fit."
)
TIGHT = (
    "Tight: {}. The peak is predicted to keep to the budget, but not with a probability of 95 %: "
    "a smaller batch is safer where running out of memory is expensive."
)
CONFIGURED = (
    "torch's allocator was configured by {}, which changes what fits: a "
    "training without a study needs it, too."
)
MIXED = (
    "Some peaks are {} and others {}: do not compare one with the other; trials.csv "
    "says which is which."
)
ON_CPU = (
    "Trained without a GPU: times say little about a GPU, least of all what amp saves there; on "
    "the CPU amp is bfloat16."
)
ON_EMULATED = (
    "Trained on an emulated card: the CPU computed, so times say nothing about a GPU, least of "
    "all what amp saves there."
)
BUSY = (
    "The machine was busy: {} spent at least {:.0%} of the time waiting for a core of the "
    "processor, so they took longer than they need. Compare no times with theirs; where nothing "
    "else tells two cells apart, the one is taken that ends first without that wait."
)
DEVICES = (
    "The trials ran on {}: the time of one says nothing about the time of another. trials.csv "
    "says which ran where."
)
UNLABELLED = (
    "Images of {} without a label file, which count as background: {}. Training teaches to miss "
    "the objects in them. {} names the first, with --json all."
)
SHARED = (
    "{} of {} of {} are trained on too: mAP@0.5 also tells how well they are remembered, and "
    "images that were never seen may rank the cells in another order. {} names the first, "
    "with --json all."
)
CHANGED = (
    "The data set changed while the study ran: {} trained on other labels, images or classes than "
    "the rest, and cannot be compared with it. Give another study.name to train all of them again."
)
FINISH = "`study.finish=true` trains the recommended one to its end."
IN_PARTS = (
    "The trials trained the first part of the planned run, on its schedule; what its end will be "
    "is extrapolated from their curves."
)
ONE_SEED = (
    "One run per cell: the noise between seeds is estimated from how the curves wiggle, and a "
    "guess where they are short. `study.confirm.top=2 study.confirm.seeds=3` repeats the best."
)


def caveats(findings: Findings) -> list[str]:
    """One sentence or two each; empty without trials."""
    of_data = (*_memory(findings), *_data(findings))
    return [text for text in (*of_data, *_training(findings), *_records(findings)) if text]


def _memory(findings: Findings) -> list[str]:
    results = (t.result for t in findings.trials if t.result)
    notes = dict.fromkeys(r.memory.note for r in results if r.memory)
    sources = findings.sources
    if len(sources) > 1:
        *some, last = sources
        return [MIXED.format(" and ".join(some), last), *notes]
    said = {SIMULATED: BY_SIMULATION, EMULATED: BY_EMULATION}
    told = [said.get(source, "") for source in sources]
    return [*told, *notes, *_tight(findings), *_allocator(findings)]


def _tight(findings: Findings) -> Iterator[str]:
    """Which cells are simulated to fit, without their bound doing so as well."""
    tight = [c.name for c in findings.ranked if any(_is_tight(t) for t in c.complete)]
    if tight:
        yield TIGHT.format(literal(", ".join(tight)))


def _is_tight(trial: RecordedTrial) -> bool:
    memory = trial.result.memory if trial.result else None
    if memory is None:
        return False
    return reading_verdict(memory, trial.spec.limit_gib) is Verdict.TIGHT


def _allocator(findings: Findings) -> Iterator[str]:
    """What torch's allocator had to do, and was told."""
    edge = [c.name for c in findings.ranked if any(_retries(t) for t in c.complete)]
    if edge:
        yield AT_THE_EDGE.format(literal(", ".join(edge)))
    results = (t.result for t in findings.trials if t.result)
    for configured in dict.fromkeys(r.memory.alloc_conf for r in results if r.memory):
        yield CONFIGURED.format(verbatim(f"PYTORCH_ALLOC_CONF={configured}")) if configured else ""


def _retries(trial: RecordedTrial) -> int:
    memory = trial.result.memory if trial.result else None
    return (memory.alloc_retries or 0) if memory else 0


def _data(findings: Findings) -> Iterator[str]:
    """Which data sets have images that nobody may have meant as background, or to train on."""
    for spec in {t.spec.data_yaml: t.spec for t in findings.trials}.values():
        facts = spec.dataset
        doctor = verbatim(doctor_command(spec.data_yaml))
        if facts is not None and facts.unlabelled:
            yield UNLABELLED.format(literal(spec.data), facts.unlabelled, doctor)
        if facts is not None and facts.shared:
            validated = count(facts.val_images, "validation image")
            yield SHARED.format(facts.shared, validated, literal(spec.data), doctor)
    yield from _changed(findings)


def _changed(findings: Findings) -> Iterator[str]:
    """Which cells trained on something else than most of them, under the same name."""
    loaded: dict[tuple[object, ...], dict[str, set[str]]] = {}
    for trial in findings.trials:
        found = trial.result.settings.get(FINGERPRINT) if trial.result else None
        if found:
            spec = trial.spec
            asked = spec.data_yaml, *(str(spec.train_args.get(name)) for name in SELECTION)
            loaded.setdefault(asked, {}).setdefault(found, set()).add(spec.label)
    for versions in loaded.values():
        _, *others = sorted(versions.values(), key=len, reverse=True)
        if others:
            yield CHANGED.format(literal(", ".join(sorted(set().union(*others)))))


def _training(findings: Findings) -> list[str]:
    # A peak is simulated exactly where there is no GPU.
    said = {SIMULATED: ON_CPU, EMULATED: ON_EMULATED, MEASURED: ""}
    sources = [said.get(source, "") for source in findings.sources]
    if not findings.ranked:
        return sources
    epochs = findings.ranked[0].spec.epochs
    brief = (
        f"Brief training ({count(epochs, 'epoch')}): a longer one may rank the cells in another "
        "order."
    )
    if findings.in_parts:
        best = findings.recommended
        epochs, brief = 0, IN_PARTS
        if best is not None and best.can_go_on:
            brief += f" {FINISH}"
    single = all(len(c.complete) == 1 for c in findings.contenders)
    return [
        *sources,
        _devices(findings),
        _busy(findings),
        ONE_SEED if single else "",
        brief if epochs < BRIEF_EPOCHS else "",
    ]


def _devices(findings: Findings) -> str:
    """Which kinds of device the times are of, where there are several."""
    ran = (t.result.device for t in findings.trials if t.result)
    *some, last = dict.fromkeys(filter(None, ran)) or [""]
    return DEVICES.format(literal(f"{', '.join(some)} and {last}")) if some else ""


def _busy(findings: Findings) -> str:
    """Which cells were kept waiting by other programs, or by each other."""
    busy = findings.busy
    return BUSY.format(literal(", ".join(busy)), min(busy.values())) if busy else ""


def _records(findings: Findings) -> list[str]:
    """Records that are not what they should be."""
    unreadable = len(findings.unreadable)
    lost = sum(t.outcome is Outcome.COMPLETE and t.map50 is None for t in findings.trials)
    return [
        f"{count(unreadable, 'record')} left out, not readable as a trial: "
        f"{literal(', '.join(findings.unreadable[:3]))}{', …' if unreadable > 3 else ''}."
        if unreadable
        else "",
        f"{count(lost, 'trial')} recorded as complete but without a mAP@0.5: not ranked."
        if lost
        else "",
    ]
