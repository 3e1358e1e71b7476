"""Rows read by key: what is asked for in one turn of the event loop is read by one statement.

Calls that were committed together answer together, and each shows what it wrote.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from db.reads import Reads

KEYS = object()
"""Stands among a statement's values where the keys go."""

MOST = 100
"""Keys after which another statement is begun."""


class _Asked:
    """A statement that is about to be sent, and all who wait for it."""

    def __init__(self, sql: str, values: Sequence[Any]) -> None:
        self.sql = sql
        self.values = values
        self.keys: list[Any] = []
        self.texts: asyncio.Future[Mapping[Any, str]] = asyncio.get_running_loop().create_future()


class KeyedReads:
    """Runs statements whose rows are a key and a text."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._asked: list[_Asked] = []
        self._reading: set[asyncio.Task[None]] = set()

    async def fetch(self, sql: str, values: Sequence[Any], keys: Sequence[Any]) -> Mapping[Any, str]:
        """The texts by key, with those that others asked for at once. `values` holds `KEYS` in the keys' place."""
        for asked in self._asked:
            if asked.sql == sql and len(asked.keys) < MOST and asked.values == values:
                break
        else:
            if not self._asked:
                asyncio.get_running_loop().call_soon(self._send)
            asked = _Asked(sql, values)
            self._asked.append(asked)
        asked.keys += keys
        return await asyncio.shield(asked.texts)

    def _send(self) -> None:
        asked, self._asked = self._asked, []
        for one in asked:
            task = asyncio.create_task(self._read(one))
            self._reading.add(task)
            task.add_done_callback(self._reading.discard)

    async def _read(self, asked: _Asked) -> None:
        try:
            values = [asked.keys if value is KEYS else value for value in asked.values]
            rows = await self._reads.fetch(asked.sql, values)
        except Exception as error:  # whatever it is, those who wait must hear of it
            asked.texts.set_exception(error)
        except asyncio.CancelledError:
            asked.texts.cancel()
            raise
        else:
            asked.texts.set_result({row[0]: row[1] for row in rows})
