"""`oms bench live`: one order to a thousand, five thousand orders to one each, catching up, memory, the relay."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import statistics
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from app.auth import development_token
from app.postgres import EmbeddedPostgres
from bench import databases, servers
from bench.data import CHANNELS, identifier
from bench.live_writing import write
from bench.read import PARTNER_SCOPES
from bench.report import Report, Target
from bench.servers import Running, Skipped, serving
from bench.swarm import build, swarm
from db.cursors import Cursor
from db.engine import asyncpg_dsn
from domain.access import Principal, PrincipalKind

Progress = Callable[[str], None]

ORDERS = 10_000
ONE_TO_ALL = 1_000
EACH_ITS_OWN = 5_000
BURSTS = {"ours": 400, "starlette": 200, "raw": 300, "naive": 15, "mercurius": 100}
"""Events of a round; each takes the slower ones about as long as the faster."""

FAN_OUT_BARS = {"starlette": 1.2, "raw": 0.7, "naive": 20.0, "mercurius": 5.0}
RATE = 2_000
EVENTS_EACH = 4
"""Events of a transaction: about what placing an order records."""

MISSED = 100
MEMORY_DELIVERIES = 1_000_000

_FIELDS = "cursor ts: actor type version occurredAt toStatus"
_ORDER = "ord_01900000-0000-7d00-8000-%012x"


def template(selection: str, *, after: str | None = None, entity: str = "") -> str:
    """The subscribe message of the swarm; its one placeholder is the order's number."""
    query = (
        "subscription Follow($id: ID!, $after: String) { orderEvents(orderId: $id, after: $after) "
        f"{{ {selection} {entity} }} }}"
    )
    payload = {"query": query, "variables": {"id": _ORDER, "after": after}}
    return orjson.dumps({"id": "1", "type": "subscribe", "payload": payload}).decode()


@dataclass(slots=True)
class Peer:
    """A server and how it is asked for a burst of events to everybody."""

    name: str
    running: Running
    path: str
    template: str | None
    burst: Callable[[int], Awaitable[None]]


def cpu_seconds(pid: int) -> float:
    """What the process has taken of processors so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def on_one_core(command: list[str]) -> list[str]:
    taskset = shutil.which("taskset")
    return [taskset, "-c", "0", *command] if taskset and (os.cpu_count() or 1) > 1 else command


class Bench:
    """One run: its database, its swarm, its findings."""

    def __init__(self, postgres: EmbeddedPostgres, work: Path, report: Report, progress: Progress) -> None:
        self.postgres = postgres
        self.work = work
        self.report = report
        self.progress = progress
        self.secret = secrets.token_urlsafe(48)
        self.url = ""
        self.program = Path()
        self.version = 0

    async def prepare(self) -> None:
        caller = Principal(
            kind=PrincipalKind.PARTNER,
            account="partner:bench",
            scopes=PARTNER_SCOPES,
            channels=tuple(identifier("a", number) for number in range(1, CHANNELS + 1)),
        )
        self.program = await build(self.work, development_token(self.secret, caller))
        self.progress(f"making a database of {ORDERS:,} orders")
        source = await databases.shop(self.postgres, ORDERS)
        self.url = await databases.copy(
            self.postgres, source.rpartition("/")[2].partition("?")[0], "bench_live"
        )
        self.report.versions["postgresql"] = await databases.version(asyncpg_dsn(self.url))

    @contextlib.asynccontextmanager
    async def ours(self) -> AsyncIterator[Running]:
        port = servers.free_port()
        command, environment = servers.ours(self.url, self.secret, port)
        log = self.work / f"ours-{port}.log"
        async with serving(on_one_core(command), environment, port, log=log) as running:
            await self.settled()
            yield running

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

    # (a) One order, a thousand subscribers.

    async def fan_out(self, rounds: int) -> None:
        async with contextlib.AsyncExitStack() as stack:
            peers = [await self._our_peer(stack)]
            for name in ("starlette", "raw", "naive"):
                peers.append(await self._python_peer(stack, name))
            try:
                peers.append(await self._mercurius(stack))
            except (Skipped, RuntimeError, OSError) as reason:
                self.report.skipped["mercurius"] = str(reason)
            found: dict[str, list[tuple[float, float]]] = {peer.name: [] for peer in peers}
            swarms = {
                peer.name: await stack.enter_async_context(
                    swarm(
                        self._own_program(peer.name), peer.running.port, peer.path, ONE_TO_ALL, peer.template
                    )
                )
                for peer in peers
            }
            for each in swarms.values():
                await each.ready()
            for number in range(rounds + 1):
                self.progress(f"(a) {ONE_TO_ALL:,} subscribers of one order, round {number} of {rounds}")
                for peer in peers:
                    await swarms[peer.name].reset()
                    events = BURSTS[peer.name]
                    cpu = cpu_seconds(peer.running.pid)
                    await peer.burst(events)
                    seen = await swarms[peer.name].until(events * ONE_TO_ALL, within=60)
                    spent = cpu_seconds(peer.running.pid) - cpu
                    if number:  # the first one warms
                        found[peer.name].append(
                            (seen["msgs"] / seen["span_s"], seen["msgs"] / max(spent, 0.01))
                        )
        self._judge_fan_out(found)

    def _judge_fan_out(self, found: dict[str, list[tuple[float, float]]]) -> None:
        for name, measured in found.items():
            self.report.figures[f"fan_out_{name}_per_second"] = statistics.median(
                each[0] for each in measured
            )
            self.report.figures[f"fan_out_{name}_per_cpu_second"] = statistics.median(
                each[1] for each in measured
            )
        for name, bar in FAN_OUT_BARS.items():
            for place, suffix in enumerate(("", "_per_cpu")):
                if name in found:
                    ratios = [
                        mine[place] / theirs[place]
                        for mine, theirs in zip(found["ours"], found[name], strict=True)
                    ]
                    target = Target(f"fan_out_vs_{name}{suffix}", statistics.median(ratios), bar)
                    self.report.targets.append(target)

    def _own_program(self, name: str) -> Path:
        """The swarm in a directory of its own, because its template lies beside it."""
        directory = self.work / name
        directory.mkdir(exist_ok=True)
        return Path(shutil.copy(self.program, directory / "swarm"))

    async def _our_peer(self, stack: contextlib.AsyncExitStack) -> Peer:
        running = await stack.enter_async_context(self.ours())

        async def burst(events: int) -> None:
            await self.write(orders=1, count=events, events_each=1)

        return Peer("ours", running, "/graphql", template(_FIELDS), burst)

    async def _python_peer(self, stack: contextlib.AsyncExitStack, name: str) -> Peer:
        port = servers.free_port()
        command, environment = servers.uvicorn("bench.live_peers:app", asyncpg_dsn(self.url), port)
        command += ["--ws", "websockets-sansio", "--ws-per-message-deflate", "false"]
        running = await stack.enter_async_context(
            serving(
                on_one_core(command), {**environment, "BENCH_LIVE": name}, port, log=self.work / f"{name}.log"
            )
        )
        following = None
        if name == "naive":
            selection = "cursor ts type version occurredAt toStatus"
            query = f'subscription {{ orderEvents(orderId: "%x") {{ {selection} }} }}'
            following = orjson.dumps({"id": "1", "type": "subscribe", "payload": {"query": query}}).decode()

        async def burst(events: int) -> None:
            await asyncio.to_thread(_get, f"http://127.0.0.1:{port}/burst?n={events}")

        return Peer(name, running, "/graphql/" if following else "/bare", following, burst)

    async def _mercurius(self, stack: contextlib.AsyncExitStack) -> Peer:
        self.progress("making the Node peer's database")
        dsn = await databases.peer(self.postgres)
        port = servers.free_port()
        command, environment, cwd = await servers.mercurius(dsn, port, self.postgres.directory / "mercurius")
        running = await stack.enter_async_context(
            serving(on_one_core(command), environment, port, log=self.work / "mercurius.log", cwd=cwd)
        )
        connection = await asyncpg.connect(dsn)
        stack.push_async_callback(connection.close)

        async def burst(events: int) -> None:
            # Told as its own mutation tells it; the writes themselves are not what is measured here.
            for number in range(1, events + 1):
                await connection.execute("select pg_notify('order_placed', $1)", f'{{"id":{number}}}')

        query = "subscription { orderPlaced { id ts: code totalCents } }"
        following = orjson.dumps({"id": "1", "type": "subscribe", "payload": {"query": query}}).decode()
        return Peer("mercurius", running, "/graphql", following, burst)

    # (b) Five thousand subscribers, each of its own order.

    async def each_its_own(self, seconds: float) -> None:
        async with self.ours() as running:
            for name, entity, rate in (
                ("own_orders", "", RATE),
                ("own_orders_with_entity", "order { status }", RATE),
                ("own_orders_with_entity_half", "order { status }", RATE // 2),
            ):
                self.progress(
                    f"(b) {EACH_ITS_OWN:,} subscribers of one order each, {rate:,} events a second {entity}"
                )
                following = template(_FIELDS, entity=entity)
                async with swarm(
                    self.program, running.port, "/graphql", EACH_ITS_OWN, following, channels=EACH_ITS_OWN
                ) as subscribers:
                    await subscribers.ready()
                    count = int(rate * seconds) // EVENTS_EACH
                    per_second = rate / EVENTS_EACH
                    await self._paced(subscribers, count=int(per_second), rate=per_second)
                    await subscribers.reset()
                    cpu = cpu_seconds(running.pid)
                    written, seen = await self._paced(subscribers, count=count, rate=per_second)
                    self._latencies(name, seen)
                    self.report.figures[f"{name}_events_per_second"] = written["per_second"]
                    self.report.figures[f"{name}_writer_behind_ms"] = written["behind_ms"]
                    self.report.figures[f"{name}_server_cores"] = (cpu_seconds(running.pid) - cpu) / written[
                        "seconds"
                    ]
                    if not entity:
                        self.report.targets.append(Target(f"{name}_p99_ms", seen["p99_ms"], 25, at_most=True))

    async def _paced(self, subscribers: Any, *, count: int, rate: float) -> tuple[Any, Any]:
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
            before = running.memory_megabytes()
            idle = template(_FIELDS)
            self.progress(f"(d) memory of {EACH_ITS_OWN:,} idle subscriptions")
            async with swarm(
                self.program, running.port, "/graphql", EACH_ITS_OWN, idle, channels=EACH_ITS_OWN
            ) as subscribers:
                await subscribers.ready()
                await asyncio.sleep(1)
                kilobytes = (running.memory_megabytes() - before) * 1024 / EACH_ITS_OWN
            self.report.targets.append(Target("memory_per_subscription_kb", kilobytes, 40, at_most=True))
            async with swarm(self.program, running.port, "/graphql", ONE_TO_ALL, idle) as subscribers:
                await subscribers.ready()
                self.progress(f"(c) {50 * ONE_TO_ALL:,} deliveries a second")
                await self.write(orders=1, count=50, events_each=1, rate=50)
                await subscribers.until(50 * ONE_TO_ALL, within=30)
                await subscribers.reset()
                cpu = cpu_seconds(running.pid)
                count = int(50 * seconds)
                written = await self.write(orders=1, count=count, events_each=1, rate=50)
                seen = await subscribers.until(count * ONE_TO_ALL, within=30)
                self._latencies("held_50000", seen)
                self.report.figures["held_50000_server_cores"] = (cpu_seconds(running.pid) - cpu) / written[
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
            epoch, position = await connection.fetchrow("select epoch, position from relay")
            first, self.version = self.version, self.version + MISSED
            await connection.execute(_MISSED, EACH_ITS_OWN, MISSED, position, first)
            await connection.execute("update relay set position = position + $1", EACH_ITS_OWN * MISSED)
            # Jobs were made of them when they happened; only the clients were away.
            await connection.execute("update consumer set position = (select position from relay)")
            await connection.execute("vacuum (analyze) event_log")
        finally:
            await connection.close()
        async with self.ours() as running:
            following = template(_FIELDS, after=str(Cursor(epoch, position)))
            self.progress(f"(e) {EACH_ITS_OWN:,} clients come back")
            cpu = cpu_seconds(running.pid)
            started = time.perf_counter()
            async with swarm(
                self.program, running.port, "/graphql", EACH_ITS_OWN, following, channels=EACH_ITS_OWN
            ) as subscribers:
                seen = await subscribers.until(EACH_ITS_OWN * MISSED, within=120)
                took = time.perf_counter() - started
                self.report.figures["catching_up_server_cpu_seconds"] = cpu_seconds(running.pid) - cpu
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


_MISSED = """
insert into event_log (position, event_id, type, aggregate_kind, aggregate_id, version, subject_kind, subject_id,
                       to_status, order_id, channel_id, origin, actor, occurred_at, created_at)
select $3 + n * $1::bigint + o + 1, gen_random_uuid(), 'ORDER_UPDATED', 'ORDER', id, $4 + n + 1, 'ORDER', id,
       'CONFIRMED', id, '01900000-0000-7a00-8000-000000000001', 'PLACED', '1', now(), now()
from generate_series(0, $1::int - 1) o, generate_series(0, $2::int - 1) n,
     lateral (select ('01900000-0000-7d00-8000-' || lpad(to_hex(o), 12, '0'))::uuid as id) named
"""


def _get(address: str) -> None:
    with urllib.request.urlopen(address, timeout=30) as response:  # noqa: S310 - loopback
        response.read()


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
        try:
            await bench.prepare()
        except Skipped as reason:
            report.skipped["everything"] = str(reason)
            return report
        if "a" in parts:
            await bench.fan_out(rounds)
        if "b" in parts:
            await bench.each_its_own(seconds)
        if "c" in parts or "d" in parts:
            await bench.held_and_memory(seconds)
        if "f" in parts:
            await bench.relaying()
        if "e" in parts:
            await bench.catching_up()
    return report
