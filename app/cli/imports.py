"""What `oms import` does: an engine, the import, its progress."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

from app.cli.terminal import fail, notes
from db.engine import create_write_engine
from domain.errors import Refused
from domain.imports import ImportKind, MapError
from services.imports import running

STATEMENT_TIMEOUT_SECONDS = 120
"""A batch is a few statements over hundreds of rows, on a machine that may be busy with other things."""


async def run_import(
    url: str,
    kind: str,
    file: Path,
    mapping: Path,
    rejects: Path,
    progress: Callable[[str, int, int], None],
) -> tuple[int, int]:
    """Import the file; returns how many records were taken and how many rejected, earlier cut runs included."""
    # What is loaded by now stays, and what a batch makes goes with it: there is little to look for.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    engine = create_write_engine(
        url, pool_size=running.WRITERS + 1, statement_timeout_seconds=STATEMENT_TIMEOUT_SECONDS
    )
    told = False

    def report(now: running.Progress) -> None:
        nonlocal told
        if now.resumed_at and not told:
            notes.print(f"going on after {now.resumed_at:,} records that an earlier run had done")
            told = True
        # The number of records is known at the end only; what was read of the file tells how far it is.
        known = now.bytes_read < now.size
        total = round(now.position * now.size / now.bytes_read) if known and now.bytes_read else now.position
        progress(f"importing {kind}", now.position, total)

    try:
        done = await running.run_import(
            engine, ImportKind(kind.upper()), file, mapping, rejects=rejects, on_progress=report
        )
    except MapError as error:
        fail(str(error))
    except (running.RunInProgressError, Refused):  # Refused: it holds this batch's key at the moment
        fail("another process is importing this file right now.")
    finally:
        await engine.dispose()
    return done.created + done.changed + done.unchanged, done.rejected
