"""Rows read by key: what is asked for in one turn of the event loop is read by one statement.

Calls that were committed together answer together, and each shows what it wrote.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from db.reads import Reads

MOST = 100
"""Keys after which another statement is begun."""

Texts = dict[Any, str]
Bounds = Mapping[str, Any]


class _Asked:
    """A statement that is about to be sent, and all who wait for it."""

    def __init__(self, sql: str, values: Sequence[Any]) -> None:
        self.sql = sql
        self.values = values
        self.callers: list[tuple[Bounds, list[Any]]] = []
        self.keys = 0
        self.texts: asyncio.Future[list[Texts]] = asyncio.get_running_loop().create_future()

    def add(self, bounds: Bounds, keys: Sequence[Any]) -> int:
        """The place of the caller with these bounds, who asks for these keys too."""
        self.keys += len(keys)
        for place, (known, wanted) in enumerate(self.callers):
            if known == bounds:
                wanted.extend(keys)
                return place
        self.callers.append((bounds, [*keys]))
        return len(self.callers) - 1


class KeyedReads:
    """Runs statements for many callers at once. Their rows are the place of a caller, a key and a text.

    Their last parameter is JSON: for each caller its `place`, its `keys`, and the values that bound what it sees.
    """

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._asked: list[_Asked] = []
        self._reading: set[asyncio.Task[None]] = set()

    async def fetch(self, sql: str, values: Sequence[Any], bounds: Bounds, keys: Sequence[Any]) -> Texts:
        """The texts by key, of what a caller with these bounds sees. `values` are the other parameters."""
        for asked in self._asked:
            if asked.sql == sql and asked.keys < MOST and asked.values == values:
                break
        else:
            if not self._asked:
                asyncio.get_running_loop().call_soon(self._send)
            asked = _Asked(sql, values)
            self._asked.append(asked)
        place = asked.add(bounds, keys)
        texts = (await asyncio.shield(asked.texts))[place]
        return {key: texts[key] for key in keys if key in texts}

    def _send(self) -> None:
        asked, self._asked = self._asked, []
        for one in asked:
            task = asyncio.create_task(self._read(one))
            self._reading.add(task)
            task.add_done_callback(self._reading.discard)

    async def _read(self, asked: _Asked) -> None:
        try:
            callers = [
                {"place": place, "keys": keys, **bounds} for place, (bounds, keys) in enumerate(asked.callers)
            ]
            given = orjson.dumps(callers, default=str).decode()  # the driver's ids are of a class of its own
            rows = await self._reads.fetch(asked.sql, [*asked.values, given])
        except Exception as error:  # whatever it is, those who wait must hear of it
            asked.texts.set_exception(error)
        except asyncio.CancelledError:
            asked.texts.cancel()
            raise
        else:
            texts: list[Texts] = [{} for _ in callers]
            for place, key, text in rows:
                texts[place][key] = text
            asked.texts.set_result(texts)
