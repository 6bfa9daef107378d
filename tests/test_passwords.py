"""Passwords in URLs."""

from sweeper.passwords import without_password, without_passwords


def test_a_password_is_not_shown_and_the_rest_is() -> None:
    url = "postgresql://ann:secret@dbhost:5432/sweeper"
    assert without_password(url) == "postgresql://ann:***@dbhost:5432/sweeper"
    assert without_passwords((f"study.storage={url}", "batch=2,4", "runs_dir=a@b")) == [
        "study.storage=postgresql://ann:***@dbhost:5432/sweeper",
        "batch=2,4",
        "runs_dir=a@b",
    ]
