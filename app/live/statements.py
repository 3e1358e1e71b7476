"""Core statements as asyncpg takes them: the live path runs few, and each of them often."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy.dialects.postgresql import asyncpg

_DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy's dialects are untyped


@lru_cache(maxsize=256)
def compiled(statement: Any) -> tuple[str, tuple[str, ...]]:
    """A Core statement as text for asyncpg itself, and the names of its parameters in order."""
    made = statement.compile(dialect=_DIALECT)
    return str(made), tuple(made.positiontup or ())
