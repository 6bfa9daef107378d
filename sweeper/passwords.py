"""Passwords in URLs, which are not for records and messages."""

from __future__ import annotations

import re
from collections.abc import Iterable

IN_URL = re.compile(r"(?<=://)([^\s/:@]*):[^\s/?#]+@")


def without_password(text: str) -> str:
    """A URL, or a message with URLs in it, as it may be shown."""
    return IN_URL.sub(r"\1:***@", text)


def without_passwords(overrides: Iterable[str]) -> list[str]:
    """Overrides whose values may be shown."""
    return [without_password(override) for override in overrides]
