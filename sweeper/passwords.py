"""Passwords in URLs, which are not for records and messages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

IN_URL = re.compile(r"(?<=://)([^\s/:@]*):[^\s/]+@")


def hide_passwords(text: str) -> str:
    """A message as it may be shown, whatever URLs are in it."""
    return IN_URL.sub(r"\1:***@", text)


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    parts = urlsplit(url)
    if not parts.password:
        return url
    return parts._replace(netloc=f"{parts.username}:***@{parts.netloc.split('@')[-1]}").geturl()


def without_passwords(overrides: Iterable[str]) -> list[str]:
    """Overrides whose values may be shown."""
    split = (override.partition("=") for override in overrides)
    return [key + equals + without_password(value) for key, equals, value in split]
