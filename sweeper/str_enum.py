"""``enum.StrEnum``, which Python 3.10 does not have."""

from __future__ import annotations

from enum import Enum


class StrEnum(str, Enum):
    """An enumeration whose members are their values, in text and JSON, too."""

    __str__ = str.__str__
