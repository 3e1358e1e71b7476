"""The invariants, run every second for as long as a storm lasts; and what must have come to rest after it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter

import asyncpg

from bench.storm.fleet import Fleet
from db.invariants import violations

EVERY_SECONDS = 1.0
UNREACHABLE: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)


class Watch:
    """Runs every invariant in one snapshot, again and again; `broken` says which did not hold."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.runs = 0
        self.broken: Counter[str] = Counter()
        self.examples: list[str] = []

    async def run(self) -> None:
        while True:
            begun = time.monotonic()
            with contextlib.suppress(*UNREACHABLE):  # it is being killed; that is somebody else's figure
                await self.once()
            await asyncio.sleep(max(0.05, EVERY_SECONDS - (time.monotonic() - begun)))

    async def once(self) -> int:
        """How many rows break an invariant in one snapshot."""
        connection = await self._fleet.connect()
        try:
            found = await violations(connection)
        finally:
            await connection.close(timeout=2)
        self.runs += 1
        for finding in found:
            self.broken[finding.name] += finding.violations
            self.examples += [f"{finding.name}: {example}" for example in finding.examples[:2]]
        return sum(finding.violations for finding in found)


_OPEN_WORK = """
select (select count(*) from payment_transaction asked join payment on payment.id = asked.payment_id
        where asked.status in ('PENDING', 'UNKNOWN') and payment.provider = 'sandbox') as unsettled,
       (select count(*) from outbox) as unrelayed,
       (select count(*) from pgqueuer.pgqueuer where status <> 'failed') as jobs,
       (select relay.position - coalesce(min(consumer.position), 0)
        from relay left join consumer on consumer.name <> 'retention' group by relay.position) as unread
"""

_DIFFERENCES = """
select coalesce(ours.id, theirs.transaction_id) as id, ours.kind, ours.amount,
       theirs.kind as their_kind, theirs.amount as their_amount
from (
    select moved.id, moved.kind, moved.amount
    from payment_transaction moved join payment on payment.id = moved.payment_id
    where moved.status = 'SUCCEEDED' and payment.provider = 'sandbox'
) ours
full join (select * from sandbox.operation where outcome = 'SUCCEEDED') theirs
    on theirs.transaction_id = ours.id
where (ours.kind, ours.amount) is distinct from (theirs.kind, theirs.amount)
"""


async def at_rest(fleet: Fleet, within_seconds: float) -> dict[str, int]:
    """Wait until no work is open: payments settled, events relayed, jobs done. What is open still, by name."""
    deadline = time.monotonic() + within_seconds
    while True:
        connection = await fleet.connect()
        try:
            row = dict(await connection.fetchrow(_OPEN_WORK) or {})
        finally:
            await connection.close()
        left = {name: number for name, number in row.items() if number}
        if not left or time.monotonic() > deadline:
            return left
        await asyncio.sleep(0.2)


async def provider_differences(fleet: Fleet) -> list[str]:
    """Transactions that the sandbox's books and ours do not agree on."""
    connection = await fleet.connect()
    try:
        if not await connection.fetchval("select to_regclass('sandbox.operation') is not null"):
            return []
        return [str(dict(row)) for row in await connection.fetch(_DIFFERENCES)]
    finally:
        await connection.close()
