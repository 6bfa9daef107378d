"""What goes wrong with MLflow, as one message that a person can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from sweeper.errors import StudyError, first_line

# What a server or database that cannot take or give records raises; an address that is not
# MLflow's may answer with something that is not JSON.
FAULTS = (MlflowException, SQLAlchemyError, OSError, JSONDecodeError)
REFUSALS = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


def is_refusal(error: BaseException) -> bool:
    """Whether MLflow answered and will not do this, e.g. to a run that was deleted."""
    return getattr(error, "error_code", "") in REFUSALS


@contextmanager
def readable_faults(uri: str) -> Iterator[None]:
    """Raise MLflow's faults as one message.

    Raises:
        StudyError: MLflow does not answer, or refuses.
    """
    try:
        yield
    except FAULTS as error:
        cause = first_line(error)[:200]
        if is_refusal(error):
            raise StudyError(f"tracking.uri={uri} refuses: {cause}") from error
        raise StudyError(
            f"tracking.uri={uri} does not answer: {cause}. Start the server, or give the "
            "tracking.uri that the study was run with."
        ) from error
