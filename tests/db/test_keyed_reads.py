"""What is asked for by key in one turn of the loop is one statement, and each asker's own affair."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import asyncpg
import orjson
import pytest

from db import keyed_reads
from db.keyed_reads import KeyedReads
from db.reads import Reads


class _Told:
    """Stands before Reads: what was sent, and an answer or an error for each key. Nobody sees what is not its own."""

    def __init__(self, fails: BaseException | None = None) -> None:
        self.sent: list[tuple[str, list[Any], list[dict[str, Any]]]] = []
        self.fails = fails

    async def fetch(self, sql: str, values: Sequence[Any]) -> list[tuple[int, int, str]]:
        callers = orjson.loads(values[-1])
        self.sent.append((sql, [*values[:-1]], callers))
        await asyncio.sleep(0)
        if self.fails is not None:
            raise self.fails
        return [
            (caller["place"], key, f"{values[0]}{key}")
            for caller in reversed(callers)
            for key in caller["keys"]
            if key in caller["sees"]
        ]


def _reads(told: _Told) -> KeyedReads:
    return KeyedReads(cast(Reads, told))


SEES = {"sees": [*range(1, 9)]}


async def test_those_who_ask_at_once_with_the_same_values_share_a_statement() -> None:
    told = _Told()
    reads = _reads(told)
    other = {"sees": [4]}
    answers = await asyncio.gather(
        reads.fetch("s", ["x"], SEES, [1]),
        reads.fetch("s", ["x"], SEES, [2, 9]),
        reads.fetch("s", ["x"], other, [4]),
        reads.fetch("s", ["y"], SEES, [1]),
        reads.fetch("t", ["x"], SEES, [1]),
    )
    assert answers == [{1: "x1"}, {2: "x2"}, {4: "x4"}, {1: "y1"}, {1: "x1"}]
    assert told.sent == [
        ("s", ["x"], [{"place": 0, "keys": [1, 2, 9], **SEES}, {"place": 1, "keys": [4], **other}]),
        ("s", ["y"], [{"place": 0, "keys": [1], **SEES}]),
        ("t", ["x"], [{"place": 0, "keys": [1], **SEES}]),
    ]
    assert await reads.fetch("s", ["x"], SEES, [3]) == {3: "x3"}
    assert len(told.sent) == 4


async def test_each_is_told_what_it_sees_also_of_a_key_that_another_asks_for() -> None:
    told = _Told()
    reads = _reads(told)
    answers = await asyncio.gather(
        *(
            reads.fetch("s", ["x"], {"sees": sees}, keys)
            for sees, keys in (([1], [1, 2]), ([2], [1, 2]), ([], [1, 2]), ([1, 2], [2]), ([2], [1]))
        )
    )
    assert answers == [{1: "x1"}, {2: "x2"}, {}, {2: "x2"}, {}]
    assert len(told.sent) == 1


async def test_a_statement_reads_no_more_keys_than_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed_reads, "MOST", 2)
    told = _Told()
    reads = _reads(told)
    await asyncio.gather(*(reads.fetch("s", ["x"], {"sees": [key]}, [key]) for key in range(1, 6)))
    keys = [[key for caller in callers for key in caller["keys"]] for _, _, callers in told.sent]
    assert keys == [[1, 2], [3, 4], [5]]


async def test_all_who_asked_hear_of_what_went_wrong_and_may_ask_again() -> None:
    told = _Told(asyncpg.ConnectionDoesNotExistError("gone"))
    reads = _reads(told)
    answers = await asyncio.gather(
        *(reads.fetch("s", ["x"], {"sees": [key]}, [key]) for key in (1, 2)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [asyncpg.ConnectionDoesNotExistError] * 2
    told.fails = None
    assert await reads.fetch("s", ["x"], SEES, [1]) == {1: "x1"}


async def test_one_who_no_longer_waits_takes_nothing_from_the_others() -> None:
    told = _Told()
    reads = _reads(told)
    first = asyncio.create_task(reads.fetch("s", ["x"], SEES, [1]))
    second = asyncio.create_task(reads.fetch("s", ["x"], SEES, [2]))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == {2: "x2"}
    with pytest.raises(asyncio.CancelledError):
        await first
