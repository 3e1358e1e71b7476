"""What is asked for by key in one turn of the loop is one statement, and each asker's own affair."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import asyncpg
import pytest

from db import keyed_reads
from db.keyed_reads import KEYS, KeyedReads
from db.reads import Reads


class _Told:
    """Stands before Reads: what was sent, and an answer or an error for each key."""

    def __init__(self, fails: BaseException | None = None) -> None:
        self.sent: list[tuple[str, Sequence[Any]]] = []
        self.fails = fails

    async def fetch(self, sql: str, values: Sequence[Any]) -> list[tuple[int, str]]:
        self.sent.append((sql, values))
        await asyncio.sleep(0)
        if self.fails is not None:
            raise self.fails
        (keys,) = [value for value in values if isinstance(value, list)]
        return [(key, f"{values[0]}{key}") for key in keys if key > 0]


def _reads(told: _Told) -> KeyedReads:
    return KeyedReads(cast(Reads, told))


async def test_those_who_ask_at_once_with_the_same_values_share_a_statement() -> None:
    told = _Told()
    reads = _reads(told)
    a, b, c, d = await asyncio.gather(
        reads.fetch("s", ["x", KEYS], [1]),
        reads.fetch("s", ["x", KEYS], [2, -1]),
        reads.fetch("s", ["y", KEYS], [1]),
        reads.fetch("t", ["x", KEYS], [1]),
    )
    assert (a[1], b[2], c[1], d[1]) == ("x1", "x2", "y1", "x1")
    assert -1 not in b
    assert told.sent == [("s", ["x", [1, 2, -1]]), ("s", ["y", [1]]), ("t", ["x", [1]])]
    await reads.fetch("s", ["x", KEYS], [3])
    assert told.sent[3:] == [("s", ["x", [3]])]


async def test_a_statement_reads_no_more_keys_than_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed_reads, "MOST", 2)
    told = _Told()
    reads = _reads(told)
    await asyncio.gather(*(reads.fetch("s", ["x", KEYS], [key]) for key in range(1, 6)))
    assert [values[1] for _, values in told.sent] == [[1, 2], [3, 4], [5]]


async def test_all_who_asked_hear_of_what_went_wrong_and_may_ask_again() -> None:
    told = _Told(asyncpg.ConnectionDoesNotExistError("gone"))
    reads = _reads(told)
    answers = await asyncio.gather(
        *(reads.fetch("s", ["x", KEYS], [key]) for key in (1, 2)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [asyncpg.ConnectionDoesNotExistError] * 2
    told.fails = None
    assert (await reads.fetch("s", ["x", KEYS], [1]))[1] == "x1"


async def test_one_who_no_longer_waits_takes_nothing_from_the_others() -> None:
    told = _Told()
    reads = _reads(told)
    first = asyncio.create_task(reads.fetch("s", ["x", KEYS], [1]))
    second = asyncio.create_task(reads.fetch("s", ["x", KEYS], [2]))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second)[2] == "x2"
    with pytest.raises(asyncio.CancelledError):
        await first
