"""`oms bench place`: an order of three lines, against the Node peer's plain order.

Ours takes an idempotency key, allocates by location, and writes its events to the outbox
that the relay empties meanwhile; the peer's order has none of these. Commits are durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import asyncpg

from app.postgres import EmbeddedPostgres
from bench import cpu, databases, places, servers
from bench.bare_place import Bare
from bench.load import Measured, Request, measure
from bench.ports import free_port
from bench.report import Report, Target
from bench.servers import Running, Skipped, serving
from db.engine import asyncpg_dsn

Progress = Callable[[str], None]

MOST_PER_SECOND = 4_000
"""Requests are made ahead, because no key may be sent twice: as many as no server here can take."""

REFUSED = ('"errors":', '"order":null', '"placeOrder":null')
HOT = 1
"""The product that every order of the hot rounds asks for."""

VS_MERCURIUS_BAR = 0.8
P99_VS_MERCURIUS_BAR = 2.0
HOT_BAR = 0.4
BARE_BAR = 0.6


@dataclass(slots=True)
class Contender:
    """A server, its database, and what it is asked, another order every time."""

    name: str
    running: Running
    dsn: str
    postmaster: int
    requests: Iterator[Request]
    rounds: list[Measured] = field(default_factory=list)
    wal_bytes: list[float] = field(default_factory=list)
    """Per order, by round: whatever the database wrote meanwhile, the relay's and checkpoints' included."""
    server_cpu: list[float] = field(default_factory=list)
    database_cpu: list[float] = field(default_factory=list)
    """Milliseconds of a core per order, by round; the relay's and the workers' included."""

    def median(self, figure: str) -> float:
        return float(statistics.median(getattr(measured, figure) for measured in self.rounds))

    async def round(self, seconds: float, *, keep: bool = True) -> None:
        requests = list(islice(self.requests, int(MOST_PER_SECOND * seconds)))
        wal, server, database = (
            await _wal(self.dsn),
            cpu.of(self.running.pid),
            cpu.of_children(self.postmaster),
        )
        measured = await measure(self.running.port, requests, seconds=seconds, once=True, refused=REFUSED)
        if keep:
            self.rounds.append(measured)
            self.server_cpu.append((cpu.of(self.running.pid) - server) * 1000 / measured.answers)
            self.database_cpu.append((cpu.of_children(self.postmaster) - database) * 1000 / measured.answers)
            self.wal_bytes.append((await _wal(self.dsn) - wal) / measured.answers)


async def _wal(dsn: str) -> float:
    connection = await asyncpg.connect(dsn)
    try:
        position = await connection.fetchval("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        return float(position)
    finally:
        await connection.close()


async def run(directory: Path, *, orders: int, rounds: int, seconds: float, progress: Progress) -> Report:
    """The whole benchmark, on an embedded PostgreSQL in `directory`."""
    report = Report()
    with EmbeddedPostgres(directory) as postgres:
        async with contextlib.AsyncExitStack() as stack:
            logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="oms-bench-")))
            contenders = await _contenders(postgres, orders, stack, logs, report, progress)
            bare = await Bare.recorded(await _shop(postgres, orders, "bench_place_bare"), report)
            await _take_turns(contenders, bare, rounds, seconds, progress)
            _judge(report, contenders, bare)
    return report


async def _shop(postgres: EmbeddedPostgres, orders: int, name: str) -> str:
    await databases.shop(postgres, orders)
    url = await databases.copy(postgres, f"bench_{orders}", name)
    await places.stock(asyncpg_dsn(url))
    return url


async def _contenders(
    postgres: EmbeddedPostgres,
    orders: int,
    stack: contextlib.AsyncExitStack,
    logs: Path,
    report: Report,
    progress: Progress,
) -> dict[str, Contender]:
    progress(f"making a database of {orders:,} orders")
    url = await _shop(postgres, orders, "bench_place")
    dsn = asyncpg_dsn(url)
    report.versions["postgresql"] = await databases.version(dsn)
    secret = secrets.token_urlsafe(48)
    port = free_port()
    command, environment = servers.ours(url, secret, port)
    running = await stack.enter_async_context(serving(command, environment, port, log=logs / "ours.log"))
    postmaster = int((postgres.directory / "pgdata" / "postmaster.pid").read_text().split()[0])
    found = {
        name: Contender(name, running, dsn, postmaster, places.requests(secret, name, hot=hot, paid=paid))
        for name, hot, paid in (("ours", None, False), ("hot", HOT, False), ("paid", None, True))
    }
    try:
        progress("making the Node peer's database")
        await databases.peer(postgres)
        peer_dsn = asyncpg_dsn(await databases.copy(postgres, "bench_peer", "bench_place_peer"))
        port = free_port()
        command, environment, cwd = await servers.mercurius(peer_dsn, port, postgres.directory / "mercurius")
        peer = await stack.enter_async_context(
            serving(command, environment, port, log=logs / "mercurius.log", cwd=cwd)
        )
        for name, hot in (("mercurius", None), ("mercurius_hot", HOT)):
            found[name] = Contender(name, peer, peer_dsn, postmaster, places.peer_requests(name, hot=hot))
    except (Skipped, RuntimeError) as reason:
        report.skipped["mercurius"] = str(reason)
    return found


async def _take_turns(
    contenders: dict[str, Contender], bare: Bare, rounds: int, seconds: float, progress: Progress
) -> None:
    for contender in contenders.values():
        await contender.round(1.0, keep=False)
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        # Next to each other: what is compared.
        for name in ("hot", "paid", "ours", "mercurius", "mercurius_hot"):
            if name in contenders:
                await contenders[name].round(seconds)
            if name == "paid":
                bare.per_second.append(await asyncio.to_thread(bare.round, seconds))


def _judge(report: Report, contenders: dict[str, Contender], bare: Bare) -> None:
    ours = contenders["ours"]
    for contender in contenders.values():
        report.figures[f"{contender.name}_per_second"] = contender.median("per_second")
        report.figures[f"{contender.name}_p50_ms"] = contender.median("p50")
        report.figures[f"{contender.name}_p99_ms"] = contender.median("p99")
        report.figures[f"{contender.name}_wal_bytes_per_order"] = statistics.median(contender.wal_bytes)
        report.figures[f"{contender.name}_server_cpu_ms"] = statistics.median(contender.server_cpu)
        report.figures[f"{contender.name}_database_cpu_ms"] = statistics.median(contender.database_cpu)
    report.figures["bare_per_second"] = statistics.median(bare.per_second)
    if "mercurius" in contenders:
        theirs = contenders["mercurius"]
        report.targets += [
            Target("place_vs_mercurius", _ratio(ours, theirs, "per_second"), VS_MERCURIUS_BAR),
            Target("place_p99_vs_mercurius", _ratio(ours, theirs, "p99"), P99_VS_MERCURIUS_BAR, at_most=True),
        ]
    shares = [mine.per_second / floor for mine, floor in zip(ours.rounds, bare.per_second, strict=True)]
    report.targets += [
        Target("place_hot_vs_uniform", _ratio(contenders["hot"], ours, "per_second"), HOT_BAR),
        Target("place_vs_bare", statistics.median(shares), BARE_BAR),
    ]
    report.figures["memory_ours_mb"] = ours.running.memory_megabytes()
    report.figures["client_cores"] = ours.median("client_cores")


def _ratio(mine: Contender, theirs: Contender, figure: str) -> float:
    """Each round against its neighbour's: what else the machine did then cancels out."""
    return statistics.median(
        getattr(one, figure) / getattr(other, figure)
        for one, other in zip(mine.rounds, theirs.rounds, strict=True)
    )
