"""`oms bench live`: one order to a thousand, five thousand orders to one each, catching up, memory, the relay."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg

from app.auth import development_token
from app.postgres import EmbeddedPostgres
from bench import cpu, databases, servers
from bench.data import CHANNELS, identifier
from bench.disk import Flushes
from bench.live_fan_out import ONE_TO_ALL, FanOut
from bench.live_writing import write
from bench.ports import free_port
from bench.read import PARTNER_SCOPES
from bench.report import Report, Target
from bench.servers import Running, on_one_core, serving
from bench.swarm import FIELDS, Program, Swarm, build, following, swarm
from db.cursors import Cursor
from db.engine import asyncpg_dsn
from domain.access import Principal, PrincipalKind
from services.consumers import CONSUMER

Progress = Callable[[str], None]

ORDERS = 10_000
EACH_ITS_OWN = 5_000
RATE = 2_000
EVENTS_EACH = 4
"""Events of a transaction: about what placing an order records."""

MISSED = 100
MEMORY_DELIVERIES = 1_000_000


class Bench:
    """One run: its database, its swarm, its findings."""

    def __init__(self, postgres: EmbeddedPostgres, work: Path, report: Report, progress: Progress) -> None:
        self.postgres = postgres
        self.work = work
        self.report = report
        self.progress = progress
        self.secret = secrets.token_urlsafe(48)
        self.url = ""
        self.program = Program("none", (), {})
        self.version = 0

    async def prepare(self) -> None:
        caller = Principal(
            kind=PrincipalKind.PARTNER,
            account="partner:bench",
            scopes=PARTNER_SCOPES,
            channels=tuple(identifier("a", number) for number in range(1, CHANNELS + 1)),
        )
        self.program = await build(self.work, development_token(self.secret, caller))
        self.report.versions["subscribers"] = self.program.name
        self.progress(f"making a database of {ORDERS:,} orders")
        source = await databases.shop(self.postgres, ORDERS)
        self.url = await databases.copy(
            self.postgres, source.rpartition("/")[2].partition("?")[0], "bench_live"
        )
        self.report.versions["postgresql"] = await databases.version(asyncpg_dsn(self.url))

    @contextlib.asynccontextmanager
    async def ours(self) -> AsyncIterator[Running]:
        port = free_port()
        command, environment = servers.ours(self.url, self.secret, port)
        log = self.work / f"ours-{port}.log"
        async with serving(on_one_core(command), environment, port, log=log) as running:
            await self.settled()
            yield running

    @property
    def _postgres(self) -> int:
        """The process whose children are PostgreSQL's."""
        return int((self.postgres.cluster / "postmaster.pid").read_text().split()[0])

    async def settled(self) -> None:
        """Until the relay has moved everything."""
        connection = await asyncpg.connect(asyncpg_dsn(self.url))
        try:
            while await connection.fetchval("select exists(select from outbox)"):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        finally:
            await connection.close()

    async def write(self, *, orders: int, count: int, events_each: int, rate: float | None = None) -> Any:
        """See `live_writing.write`; versions go on where the last round ended."""
        first, self.version = self.version, self.version + events_each * (1 + count // orders)
        found = await write(
            self.url, orders=orders, first=first, rate=rate, events_each=events_each, count=count
        )
        return found

    # (b) Five thousand subscribers, each of its own order.

    async def each_its_own(self, rounds: int, seconds: float) -> None:
        async with self.ours() as running:
            for name, entity, rate in (
                ("own_orders", "", RATE),
                ("own_orders_with_entity", "order { status }", RATE),
                ("own_orders_with_entity_half", "order { status }", RATE // 2),
            ):
                self.progress(
                    f"(b) {EACH_ITS_OWN:,} subscribers of one order each, {rate:,} events a second {entity}"
                )
                subscribe = following(FIELDS, entity=entity)
                async with swarm(
                    self.program, running.port, "/graphql", EACH_ITS_OWN, subscribe, channels=EACH_ITS_OWN
                ) as subscribers:
                    await subscribers.ready()
                    per_second = rate / EVENTS_EACH
                    await self._paced(subscribers, count=int(per_second), rate=per_second)
                    async with Flushes(self.postgres.directory) as flushes:
                        found = [
                            await self._own_orders(
                                running, subscribers, int(per_second * seconds), per_second
                            )
                            for _ in range(rounds)
                        ]
                for figure in found[0]:
                    self.report.figures[f"{name}_{figure}"] = statistics.median(
                        each[figure] for each in found
                    )
                self.report.figures[f"{name}_disk_flush_p99_ms"] = flushes.milliseconds(0.99)
                if not entity:
                    p99 = self.report.figures[f"{name}_p99_ms"]
                    self.report.targets.append(Target(f"{name}_p99_ms", p99, 25, at_most=True))

    async def _own_orders(
        self, running: Running, subscribers: Swarm, count: int, rate: float
    ) -> dict[str, float]:
        """One round: what was written, how late it came, and what that took of a core."""
        await subscribers.reset()
        before = cpu.of(running.pid)
        written, seen = await self._paced(subscribers, count=count, rate=rate)
        spent = cpu.of(running.pid) - before
        return {
            **{figure: seen[figure] for figure in ("p50_ms", "p99_ms", "max_ms")},
            "events_per_second": written["per_second"],
            "writer_behind_ms": written["behind_ms"],
            "transaction_p50_ms": written["p50_ms"],
            "transaction_p99_ms": written["p99_ms"],
            **await self._waited(count * EVENTS_EACH),
            "server_cores": spent / written["seconds"],
        }

    async def _waited(self, events: int) -> dict[str, float]:
        """How long the last events waited for the relay, from the beginnings of their transactions."""
        connection = await asyncpg.connect(asyncpg_dsn(self.url))
        try:
            return dict(await connection.fetchrow(_WAITED, events) or {})
        finally:
            await connection.close()

    async def _paced(self, subscribers: Swarm, *, count: int, rate: float) -> tuple[Any, Any]:
        before = (await subscribers.report())["msgs"]
        written = await self.write(orders=EACH_ITS_OWN, count=count, events_each=EVENTS_EACH, rate=rate)
        seen = await subscribers.until(before + count * EVENTS_EACH, within=30)
        return written, seen

    def _latencies(self, name: str, seen: dict[str, Any]) -> None:
        for figure in ("p50_ms", "p99_ms", "max_ms"):
            self.report.figures[f"{name}_{figure}"] = seen[figure]

    # (c) 50,000 deliveries a second, held. (d) Memory.

    async def held_and_memory(self, seconds: float) -> None:
        async with self.ours() as running:
            await asyncio.sleep(1)
            empty = running.memory_megabytes()
            idle = following(FIELDS)
            self.progress(f"(d) memory of {EACH_ITS_OWN:,} idle subscriptions")
            async with swarm(
                self.program, running.port, "/graphql", EACH_ITS_OWN, idle, channels=EACH_ITS_OWN
            ) as subscribers:
                await subscribers.ready()
                await asyncio.sleep(1)
                kilobytes = (running.memory_megabytes() - empty) * 1024 / EACH_ITS_OWN
            self.report.targets.append(Target("memory_per_subscription_kb", kilobytes, 40, at_most=True))
            async with swarm(self.program, running.port, "/graphql", ONE_TO_ALL, idle) as subscribers:
                await subscribers.ready()
                self.progress(f"(c) {50 * ONE_TO_ALL:,} deliveries a second")
                await self.write(orders=1, count=50, events_each=1, rate=50)
                await subscribers.until(50 * ONE_TO_ALL, within=30)
                await subscribers.reset()
                before = cpu.of(running.pid)
                count = int(50 * seconds)
                written = await self.write(orders=1, count=count, events_each=1, rate=50)
                seen = await subscribers.until(count * ONE_TO_ALL, within=30)
                self._latencies("held_50000", seen)
                self.report.figures["held_50000_server_cores"] = (cpu.of(running.pid) - before) / written[
                    "seconds"
                ]
                self.report.targets.append(Target("held_50000_p99_ms", seen["p99_ms"], 100, at_most=True))
                self.progress(f"(d) memory over {MEMORY_DELIVERIES:,} deliveries")
                warm = running.memory_megabytes()
                await subscribers.reset()
                events = MEMORY_DELIVERIES // ONE_TO_ALL
                await self.write(orders=1, count=events // 10, events_each=10)
                await subscribers.until(MEMORY_DELIVERIES, within=120)
                grown = running.memory_megabytes() - warm
                self.report.targets.append(Target("memory_growth_mb", grown, 4, at_most=True))

    # (e) Five thousand come back and have missed a hundred events each.

    async def catching_up(self) -> None:
        connection = await asyncpg.connect(asyncpg_dsn(self.url))
        try:
            self.progress(f"(e) making {EACH_ITS_OWN * MISSED:,} events that were missed")
            [(epoch, position)] = await connection.fetch("select epoch, position from relay")
            first, self.version = self.version, self.version + MISSED
            await connection.execute(_MISSED, EACH_ITS_OWN, MISSED, position, first)
            await connection.execute("update relay set position = position + $1", EACH_ITS_OWN * MISSED)
            # Jobs were made of them when they happened; only the clients were away.
            await connection.execute(
                "insert into consumer (name, position) select $1, position from relay "
                "on conflict (name) do update set position = excluded.position",
                CONSUMER,
            )
            await connection.execute("vacuum (analyze) event_log")
        finally:
            await connection.close()
        async with self.ours() as running:
            subscribe = following(FIELDS, after=str(Cursor(epoch, position)))
            self.progress(f"(e) {EACH_ITS_OWN:,} clients come back")
            before, postgres, everything = cpu.of(running.pid), cpu.of_children(self._postgres), cpu.of_all()
            started = time.perf_counter()
            async with swarm(
                self.program, running.port, "/graphql", EACH_ITS_OWN, subscribe, channels=EACH_ITS_OWN
            ) as subscribers:
                seen = await subscribers.until(EACH_ITS_OWN * MISSED, within=120)
                took = time.perf_counter() - started
                server, database = cpu.of(running.pid) - before, cpu.of_children(self._postgres) - postgres
                others = cpu.of_all() - everything - server - database - cpu.of(subscribers.process.pid)
                self.report.figures["catching_up_server_cpu_seconds"] = server
                self.report.figures["catching_up_database_cpu_seconds"] = database
                self.report.figures["catching_up_neighbours_cpu_seconds"] = others
                if seen["min_per"] != MISSED or seen["max_per"] != MISSED:
                    raise RuntimeError(f"somebody did not get exactly what was missed: {seen}")
        self.report.targets.append(Target("catching_up_seconds", took, 6, at_most=True))

    # (f) The relay against the write path.

    async def relaying(self) -> None:
        self.progress("(f) the write path, and the relay")
        written = await self.write(orders=EACH_ITS_OWN, count=4_000, events_each=EVENTS_EACH)
        waiting = 4_000 * EVENTS_EACH
        from app.live.relay import Relay  # noqa: PLC0415 - only this part is the relay's process

        relay = asyncio.create_task(Relay(self.url, lambda _: None).run())
        cpu, started = time.process_time(), time.perf_counter()
        await self.settled()
        took, spent = time.perf_counter() - started, time.process_time() - cpu
        relay.cancel()
        await asyncio.gather(relay, return_exceptions=True)
        self.report.figures["written_events_per_second"] = written["per_second"]
        self.report.figures["relayed_events_per_second"] = waiting / took
        self.report.figures["relay_cpu_microseconds_per_event"] = spent / waiting * 1e6
        self.report.targets.append(Target("relay_vs_write_path", waiting / took / written["per_second"], 1.0))


_WAITED = """
select 1000 * percentile_cont(0.5) within group (order by waited) as waited_p50_ms,
       1000 * percentile_cont(0.99) within group (order by waited) as waited_p99_ms
from (select extract(epoch from logged_at - created_at)::float as waited from event_log order by position desc limit $1)
"""

_MISSED = """
insert into event_log (position, event_id, type, aggregate_kind, aggregate_id, version, subject_kind, subject_id,
                       to_status, order_id, channel_id, origin, actor, occurred_at, created_at)
select $3 + n * $1::bigint + o + 1, gen_random_uuid(), 'ORDER_UPDATED', 'ORDER', id, $4 + n + 1, 'ORDER', id,
       'CONFIRMED', id, '01900000-0000-7a00-8000-000000000001', 'PLACED', '1', now(), now()
from generate_series(0, $1::int - 1) o, generate_series(0, $2::int - 1) n,
     lateral (select ('01900000-0000-7d00-8000-' || lpad(to_hex(o), 12, '0'))::uuid as id) named
"""


PARTS = "abcdef"


async def run(
    directory: Path, *, rounds: int, seconds: float, parts: str = PARTS, progress: Progress
) -> Report:
    """The benchmark, or those of its parts that are named, on an embedded PostgreSQL in `directory`."""
    report = Report()
    with (
        EmbeddedPostgres(directory) as postgres,
        tempfile.TemporaryDirectory(prefix="oms-bench-") as work,
    ):
        bench = Bench(postgres, Path(work), report, progress)
        await bench.prepare()
        if "a" in parts:
            await FanOut(bench).run(rounds)
        if "b" in parts:
            await bench.each_its_own(rounds, seconds)
        if "c" in parts or "d" in parts:
            await bench.held_and_memory(seconds)
        if "f" in parts:
            await bench.relaying()
        if "e" in parts:
            await bench.catching_up()
    return report
