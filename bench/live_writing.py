"""Events written as use cases write them: `services.events.record` in transactions of its own.

A process of its own; it reads what to write from standard input and prints what it came to.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from bench.data import identifier
from db.engine import Engine, create_write_engine
from domain.events import AggregateKind, EventType
from domain.orders import Origin
from services import events
from services.events import Aggregate, Event

CONNECTIONS = 4


async def write(
    url: str, *, orders: int, first: int, rate: float | None, events_each: int, count: int
) -> Any:
    """`count` transactions of `events_each` events of one order each, at `rate` transactions a second (None: as
    many as possible); orders take turns. Their versions begin after `first`.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.live_writing",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    asked = {
        "url": url,
        "orders": orders,
        "first": first,
        "rate": rate,
        "events_each": events_each,
        "count": count,
    }
    printed, _ = await process.communicate(orjson.dumps(asked))
    if process.returncode:
        raise RuntimeError("the writer failed")
    return orjson.loads(printed)


async def _write_one(engine: Engine, number: int, version: int, count: int) -> None:
    order_id = identifier("d", number)
    aggregate = Aggregate(
        kind=AggregateKind.ORDER,
        id=order_id,
        version=version,
        order_id=order_id,
        channel_id=identifier("a", 1),
    )
    now = datetime.now(UTC)
    async with engine.begin() as session:
        happened = [
            Event(
                type=EventType.ORDER_UPDATED, subject_kind="ORDER", subject_id=order_id, to_status="CONFIRMED"
            )
            for _ in range(count)
        ]
        # The actor carries the moment: latency is counted from before the transaction's first statement.
        await events.record(
            session, aggregate, happened, actor=str(time.monotonic_ns()), now=now, origin=Origin.PLACED
        )


async def _run(asked: dict[str, Any]) -> dict[str, float]:
    engine = create_write_engine(asked["url"], pool_size=CONNECTIONS)
    versions = dict.fromkeys(range(asked["orders"]), asked["first"])
    numbers = iter(range(asked["count"]))
    started = time.perf_counter()
    behind = 0.0
    took: list[float] = []

    async def writer(share: int) -> None:
        nonlocal behind
        # Each writer has orders of its own, as an order's lock would have it.
        for number in numbers if asked["orders"] > 1 else (numbers if share == 0 else ()):
            if asked["rate"] is not None:
                due = started + number / asked["rate"]
                wait = due - time.perf_counter()
                behind = max(behind, -wait)
                if wait > 0:
                    await asyncio.sleep(wait)
            order = number % asked["orders"]
            version = versions[order]
            versions[order] = version + asked["events_each"]
            began = time.perf_counter()
            await _write_one(engine, order, version, asked["events_each"])
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(writer(share) for share in range(CONNECTIONS)))
    seconds = time.perf_counter() - started
    await engine.dispose()
    took.sort()
    return {
        "per_second": asked["count"] * asked["events_each"] / seconds,
        "seconds": seconds,
        "p50_ms": took[len(took) // 2] * 1000,
        "p99_ms": took[len(took) * 99 // 100] * 1000,
        "behind_ms": behind * 1000,
        "cpu_seconds": time.process_time(),
    }


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(asyncio.run(_run(orjson.loads(sys.stdin.buffer.read())))))
