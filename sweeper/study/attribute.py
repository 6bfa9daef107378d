"""An attribute of an Optuna study that is written only where it is still as it was read."""

from __future__ import annotations

from datetime import timezone

from sqlalchemy import Engine, column, func, insert, select, table, update
from sqlalchemy.exc import IntegrityError

# Optuna's own table: its `set_user_attr` writes whatever stands there by then.
_ATTRIBUTES = table(
    "study_user_attributes", column("study_id"), column("key"), column("value_json")
)


class Attribute:
    """One attribute, as JSON; what is swapped is swapped for everybody, on any database."""

    def __init__(self, engine: Engine, study_id: int, key: str) -> None:
        """``study_id`` is the study's number in the database of ``engine``."""
        self._engine = engine
        self._names = {"study_id": study_id, "key": key}
        self._row = (_ATTRIBUTES.c.study_id == study_id) & (_ATTRIBUTES.c.key == key)

    def read(self) -> str | None:
        """What stands there; None where nothing was ever written."""
        with self._engine.connect() as link:
            found: str | None = link.execute(
                select(_ATTRIBUTES.c.value_json).where(self._row)
            ).scalar()
        return found

    def swap(self, old: str | None, new: str) -> bool:
        """Write ``new`` where ``old`` stands; False where something else does."""
        with self._engine.begin() as link:
            if old is not None:
                here = self._row & (_ATTRIBUTES.c.value_json == old)
                written = link.execute(update(_ATTRIBUTES).where(here).values(value_json=new))
                return written.rowcount == 1
            try:
                link.execute(insert(_ATTRIBUTES).values({**self._names, "value_json": new}))
            except IntegrityError:
                return False
            return True

    def now(self) -> float:
        """The database's clock, Unix seconds: those of machines differ."""
        with self._engine.connect() as link:
            now = link.execute(select(func.current_timestamp())).scalar_one()
        return (now if now.tzinfo else now.replace(tzinfo=timezone.utc)).timestamp()
