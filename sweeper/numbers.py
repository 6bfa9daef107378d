"""Units, and numbers as a person would round them."""

from __future__ import annotations

from collections.abc import Sequence

MIB = 2**20
GIB = 2**30

NOTHING = "–"


def gib(value: float | None) -> str:
    """``0.66`` or ``12.1``; without the unit."""
    if value is None:
        return NOTHING
    return f"{value:.2f}" if abs(value) < 9.995 else f"{value:.1f}"


def size(count: int) -> str:
    """A number of bytes: ``12.1 GiB``, ``340 MiB`` or ``12 KiB``."""
    if count < MIB:
        return f"{count / 1024:.0f} KiB"
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.0f} MiB"


def limit(value: float) -> str:
    """A budget, which is given and not measured: ``24``, ``23.65``."""
    return f"{round(value, 2):g}"


def score(value: float | None, deviation: float | None = None) -> str:
    """mAP: ``0.423``, with several seeds ``0.423 ± 0.006``."""
    if value is None:
        return NOTHING
    return f"{value:.3f}" if deviation is None else f"{value:.3f} ± {deviation:.3f}"


def duration(seconds: float | None) -> str:
    """``4.2 s``, ``42 s``, ``3 min 05 s`` or ``3 h 42 min``; nothing for what was not run."""
    if not seconds:
        return NOTHING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def change(ours: float | None, theirs: float | None) -> float | None:
    """Ours over theirs, less one, in percent."""
    return None if ours is None or not theirs else 100 * (ours / theirs - 1)


def gain(ours: float | None, theirs: float | None) -> float | None:
    """Ours less theirs, in points (hundredths)."""
    return None if ours is None or theirs is None else 100 * (ours - theirs)


def percent(value: float | None) -> str:
    """``+5 %``."""
    return NOTHING if value is None else f"{_signed(value, 0)} %"


def points(value: float | None) -> str:
    """``+2.5``."""
    return NOTHING if value is None else _signed(value, 1)


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 trial``, ``10,000 trials``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(names: Sequence[str], shown: int) -> str:
    """The first ones, and how many more: ``a, b, c and 4 more``."""
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest:,} more" if rest > 0 else "")


def _signed(value: float, digits: int) -> str:
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else "0"
