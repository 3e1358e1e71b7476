"""How long the disk takes to keep something, while something else is measured on it."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path
from types import TracebackType

EVERY_SECONDS = 0.02
BLOCK = bytes(8_192)


class Flushes:
    """Writes a block and waits for the disk, again and again while the block of code runs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._took: list[float] = []

    async def __aenter__(self) -> Flushes:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def milliseconds(self, share: float) -> float:
        """The time that this share of them did not exceed."""
        took = sorted(self._took)
        return took[int(len(took) * share)] * 1000 if took else 0.0

    async def _run(self) -> None:
        with tempfile.TemporaryFile(dir=self._directory) as file:
            while True:
                self._took.append(await asyncio.to_thread(_flush, file.fileno()))
                await asyncio.sleep(EVERY_SECONDS)


def _flush(file: int) -> float:
    os.pwrite(file, BLOCK, 0)
    began = time.perf_counter()
    os.fdatasync(file)
    return time.perf_counter() - began
