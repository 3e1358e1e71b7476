"""Demo data: `load` fills an empty database, the same way every time, all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from app.demo import large as large_set
from app.demo import small as small_set
from db.engine import create_write_engine

__all__ = ["load"]

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

STATEMENT_TIMEOUT_SECONDS = 600
"""The large set is made by a few statements over millions of rows."""


async def load(url: str, size: Literal["small", "large"], progress: Progress) -> None:
    """Load the small set (a shop to look around in) or the large one (200,000 orders) in one transaction.

    What is loaded is the same every time, apart from ids of the small set; dates
    lie in the time before the load, so that there is always something to do today.
    """
    engine = create_write_engine(url, pool_size=1, statement_timeout_seconds=STATEMENT_TIMEOUT_SECONDS)
    try:
        async with engine.begin(gathering=True) as session:
            await (small_set if size == "small" else large_set).load(session, progress)
    finally:
        await engine.dispose()
