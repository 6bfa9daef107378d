"""Passwords in URLs."""

import pytest

from sweeper.errors import first_line
from sweeper.passwords import without_password, without_passwords


def test_a_password_is_not_shown_and_the_rest_is() -> None:
    url = "postgresql://ann:secret@dbhost:5432/sweeper"
    assert without_password(url) == "postgresql://ann:***@dbhost:5432/sweeper"
    assert without_passwords((f"study.storage={url}", "batch=2,4", "runs_dir=a@b")) == [
        "study.storage=postgresql://ann:***@dbhost:5432/sweeper",
        "batch=2,4",
        "runs_dir=a@b",
    ]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("to http://u:secret@h:5000/x failed", "to http://u:***@h:5000/x failed"),
        ("http://h:5000/a and a:b@c", "http://h:5000/a and a:b@c"),
        ("redis://:secret@h", "redis://:***@h"),
        ("db://u:a@b@h/x", "db://u:***@h/x"),
    ],
)
def test_messages_show_no_password(said: str, shown: str) -> None:
    assert without_password(said) == shown
    assert first_line(ValueError(said)) == shown
