"""Reading the log for those who are behind.

After a restart or a lost network many come back at once, each with an order of its own.
Those who wait for the same rendering are read together: one statement finds the positions
of all of them, one renders what stands there.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from app.live.rendering import LOST
from app.live.statements import compiled
from db.reads import Reads
from services import feed

if TYPE_CHECKING:
    from app.live.audiences import Audience, Item
    from app.live.rendering import Rendering

WINDOW = 20_000
"""Positions that one read of a selection without an index may cover, so that each stays short."""

TOGETHER = 32
"""The most readers of one statement. Their number is a power of two, so that the statements are few."""

_PLACE = re.compile(r"\$(\d+)")

Page = tuple[list["Item"], int]
"""Items in the order of their positions, and the position up to which these are all."""


@dataclass(slots=True)
class _Reader:
    """Who waits for a page of what an audience follows, behind `after` and up to `until`."""

    audience: Audience
    after: int
    until: int
    page: asyncio.Future[Page]


class Replay:
    """Reads pages of `size` events, on as many connections at a time as `turns` lets through."""

    def __init__(self, reads: Reads, turns: asyncio.Semaphore, size: int) -> None:
        self._reads = reads
        self._turns = turns
        self._size = size
        self._waiting: dict[tuple[Rendering, tuple[str, ...]], deque[_Reader]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def page(self, audience: Audience, after: int, until: int) -> Page:
        """The next events of an audience that shows every one of them; raises what the database raises."""
        columns = audience.selection.columns
        if feed.INDEXED.isdisjoint(columns):
            until = min(until, after + WINDOW)
        reader = _Reader(audience, after, until, asyncio.get_running_loop().create_future())
        name = audience.rendering, columns
        waiting = self._waiting.setdefault(name, deque())
        waiting.append(reader)
        if len(waiting) % TOGETHER == 1:  # whoever comes before its turn joins the group
            task = asyncio.create_task(self._serve(*name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await reader.page

    async def _serve(self, rendering: Rendering, columns: tuple[str, ...]) -> None:
        while (rendering, columns) in self._waiting:
            async with self._turns:  # one group a turn: others wait for theirs
                waiting = self._waiting.get((rendering, columns))
                if not waiting:
                    return
                together = min(TOGETHER, 1 << (len(waiting).bit_length() - 1))
                readers = [waiting.popleft() for _ in range(together)]
                if not waiting:
                    del self._waiting[rendering, columns]
                await self._answer(rendering, columns, readers)

    async def _answer(
        self, rendering: Rendering, columns: tuple[str, ...], readers: Sequence[_Reader]
    ) -> None:
        try:
            pages = await self._pages(rendering, columns, readers)
        except BaseException as error:
            if len(readers) > 1 and not isinstance(error, LOST) and isinstance(error, Exception):
                for reader in readers:  # it may be one of them that cannot be read
                    await self._answer(rendering, columns, [reader])
                return
            for reader in readers:
                if not reader.page.done():
                    reader.page.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            for reader, page in zip(readers, pages, strict=True):
                if not reader.page.done():  # it may have left meanwhile
                    reader.page.set_result(page)

    async def _pages(
        self, rendering: Rendering, columns: tuple[str, ...], readers: Sequence[_Reader]
    ) -> list[Page]:
        sql, names = _positions(columns, len(readers))
        values: list[Any] = []
        for reader in readers:
            given = {
                "after": reader.after,
                "until": reader.until,
                "limit": self._size,
                **reader.audience.selection.values(),
            }
            values += [given[name] for name in names]
        async with self._reads.connection() as connection:
            row: Any = await connection.fetchrow(sql, *values)
        rendered = await rendering.render(sorted(set().union(*row)))
        pages: list[Page] = []
        for reader, positions in zip(readers, row, strict=True):
            items = [(place, rendered[place], None) for place in positions if place in rendered]
            pages.append((items, positions[-1] if len(positions) == self._size else reader.until))
        return pages


@lru_cache(maxsize=256)
def _positions(columns: tuple[str, ...], readers: int) -> tuple[str, tuple[str, ...]]:
    """A column of positions for each of so many readers; each gives values for all names."""
    one, names = compiled(feed.positions(columns))
    shifted = (_shifted(one, number * len(names)) for number in range(readers))
    return f"select {', '.join(f'({column})' for column in shifted)}", names


def _shifted(text: str, by: int) -> str:
    """The same with its parameters numbered from `by` + 1 on."""
    return _PLACE.sub(lambda place: f"${int(place[1]) + by}", text)
