"""`oms bench read`: one order with its lines, and a page of 50, against three other ways to read them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from app.auth import development_token, staff
from app.postgres import EmbeddedPostgres
from bench import databases, servers
from bench.data import CHANNELS, identifier
from bench.load import Measured, Request, measure
from bench.operations import ONE, PAGE, PAGE_OF_50, PEER_ONE, PEER_PAGE, body, channel_id, order_id
from bench.ports import free_port
from bench.report import Report, Target
from bench.servers import Running, Skipped, serving
from db import visibility
from db.engine import asyncpg_dsn
from domain.access import ALL_SCOPES, Principal, PrincipalKind, Scope, VisibilityClass
from schema.plan.planner import Planner

Progress = Callable[[str], None]

ASKED = 2_000
"""How many different orders are asked for, so that caches help nobody in particular."""

GROWTH = (10_000, 1_000_000)
FLAT = 0.20
BARS = {
    "naive": (30.0, 35.0),
    "bare": (0.55, 0.70),
    "mercurius": (1.5, 2.0),
}
MEMORY_BAR_MEGABYTES = 120.0
PARTNER_SCOPES = ALL_SCOPES - {Scope.METADATA_PRIVATE, Scope.COSTS_READ, Scope.CHANNELS_WRITE}
SEED = 20_260_101


@dataclass(slots=True)
class Contender:
    """A server and what it is asked; the rounds it has had, by operation."""

    name: str
    running: Running
    one: list[Request]
    page: list[Request]
    rounds: dict[str, list[Measured]] = field(default_factory=lambda: {"one": [], "page": []})

    def median(self, operation: str, figure: str) -> float:
        return float(statistics.median(getattr(measured, figure) for measured in self.rounds[operation]))

    async def round(self, operation: str, seconds: float, *, keep: bool = True) -> None:
        requests = self.one if operation == "one" else self.page
        measured = await measure(self.running.port, requests, seconds=seconds)
        if keep:
            self.rounds[operation].append(measured)


def partner(channel: int) -> Principal:
    """A partner that sees one channel, as partners do: every table it reads has a predicate."""
    return Principal(
        kind=PrincipalKind.PARTNER,
        account=f"partner:bench-{channel}",
        scopes=PARTNER_SCOPES,
        channels=(identifier("a", channel),),
    )


def _channel_of(number: int) -> int:
    return 1 + number % CHANNELS


def our_requests(secret: str, orders: int) -> tuple[list[Request], list[Request]]:
    """Random orders, each asked for by the partner of its channel; and every partner's page."""
    tokens = {
        channel: f"Bearer {development_token(secret, partner(channel))}" for channel in range(1, CHANNELS + 1)
    }
    one: list[Request] = [
        (body(ONE, order_id(number)), tokens[_channel_of(number)]) for number in _numbers(orders)
    ]
    return one, [(body(PAGE_OF_50), token) for token in tokens.values()]


def _numbers(orders: int) -> list[int]:
    return random.Random(SEED).sample(range(1, orders + 1), min(ASKED, orders))  # noqa: S311 - no secret


async def run(
    directory: Path, *, orders: int, rounds: int, seconds: float, growth: bool, progress: Progress
) -> Report:
    """The whole benchmark, on an embedded PostgreSQL in `directory`."""
    report = Report()
    with EmbeddedPostgres(directory) as postgres:
        async with contextlib.AsyncExitStack() as stack:
            logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="oms-bench-")))
            contenders = await _contenders(postgres, orders, stack, logs, report, progress)
            await _check_same(contenders, orders, report)
            await _take_turns(contenders, rounds, seconds, progress)
            _judge(report, contenders)
        report.figures["plan_compile_ms"] = compile_milliseconds()
        if growth:
            await _growth(report, postgres, rounds, seconds, progress)
    return report


async def _contenders(
    postgres: EmbeddedPostgres,
    orders: int,
    stack: contextlib.AsyncExitStack,
    logs: Path,
    report: Report,
    progress: Progress,
) -> dict[str, Contender]:
    progress(f"making a database of {orders:,} orders")
    url = await databases.shop(postgres, orders)
    dsn = asyncpg_dsn(url)
    report.versions["postgresql"] = await databases.version(dsn)
    found = {"ours": await _ours(url, orders, stack, logs)}
    unbounded: list[Request] = [(body(ONE, order_id(number)), None) for number in _numbers(orders)]
    for name in ("naive", "bare"):
        port = free_port()
        command, environment = servers.uvicorn(f"bench.{name}:app", dsn, port)
        running = await stack.enter_async_context(
            serving(command, environment, port, log=logs / f"{name}.log")
        )
        found[name] = Contender(name, running, unbounded, [(body(PAGE_OF_50), None)])
    # The floor reads the pages that ours does, not one again and again.
    found["bare"].page = [(body(PAGE_OF_50, channel_id(number)), None) for number in range(1, CHANNELS + 1)]
    try:
        progress("making the Node peer's database")
        peer_dsn = await databases.peer(postgres)
        port = free_port()
        command, environment, cwd = await servers.mercurius(peer_dsn, port, postgres.directory / "mercurius")
        running = await stack.enter_async_context(
            serving(command, environment, port, log=logs / "mercurius.log", cwd=cwd)
        )
        peer_one: list[Request] = [(body(PEER_ONE, number), None) for number in _numbers(200_000)]
        found["mercurius"] = Contender("mercurius", running, peer_one, [(body(PEER_PAGE), None)])
    except (Skipped, RuntimeError) as reason:
        report.skipped["mercurius"] = str(reason)
    return found


async def _ours(url: str, orders: int, stack: contextlib.AsyncExitStack, logs: Path) -> Contender:
    secret = secrets.token_urlsafe(48)
    port = free_port()
    command, environment = servers.ours(url, secret, port)
    running = await stack.enter_async_context(
        serving(command, environment, port, log=logs / f"ours-{orders}.log")
    )
    contender = Contender("ours", running, *our_requests(secret, orders))
    seen = await asyncio.to_thread(
        _ask, port, body(PAGE_OF_50), f"Bearer {development_token(secret, staff())}"
    )
    contender.one.append(
        (body(ONE, seen["orders"]["nodes"][0]["id"]), f"Bearer {development_token(secret, staff())}")
    )
    return contender


async def _check_same(contenders: dict[str, Contender], orders: int, report: Report) -> None:
    """Everybody answers the same, or nothing that is measured means anything."""
    ours = contenders["ours"]
    for asked, authorization in ours.one[:20]:
        answers = [
            await asyncio.to_thread(_ask, contenders[name].running.port, asked, authorization)
            for name in ("ours", "naive", "bare")
        ]
        if not _plain(answers[0]) == _plain(answers[1]) == _plain(answers[2]) or answers[0]["order"] is None:
            raise RuntimeError(f"the answers differ: {answers}")
    _, staff_token = ours.one.pop()
    pages = [
        await asyncio.to_thread(_ask, contenders[name].running.port, body(PAGE_OF_50), staff_token)
        for name in ("ours", "naive", "bare")
    ]
    if (
        not _plain(pages[0]) == _plain(pages[1]) == _plain(pages[2])
        or len(pages[0]["orders"]["nodes"]) != PAGE
    ):
        raise RuntimeError("the pages differ")
    for (mine, token), (bare, _) in zip(ours.page, contenders["bare"].page, strict=True):
        same = [
            await asyncio.to_thread(_ask, ours.running.port, mine, token),
            await asyncio.to_thread(_ask, contenders["bare"].running.port, bare, None),
        ]
        if same[0] != same[1]:
            raise RuntimeError("the pages of a channel differ")


def _plain(value: Any) -> Any:
    """Timestamps in one spelling: naive Strawberry's own is +00:00, without fractions where they are zero."""
    if isinstance(value, dict):
        return {name: entry[:19] if name == "placedAt" else _plain(entry) for name, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list) else value


def _ask(port: int, sent: str, authorization: str | None) -> Any:
    headers = {"content-type": "application/json", "accept": "application/json"}
    if authorization is not None:
        headers["authorization"] = authorization
    request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", sent.encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - loopback
        answer = orjson.loads(response.read())
    if answer.get("errors"):
        raise RuntimeError(f"port {port} answered {answer['errors']}")
    return answer["data"]


async def _take_turns(
    contenders: dict[str, Contender], rounds: int, seconds: float, progress: Progress
) -> None:
    for contender in contenders.values():
        for operation in ("one", "page"):
            await contender.round(operation, 1.0, keep=False)
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        for operation in ("one", "page"):
            for contender in contenders.values():
                await contender.round(operation, seconds)


def _judge(report: Report, contenders: dict[str, Contender]) -> None:
    ours = contenders["ours"]
    for operation in ("one", "page"):
        for contender in contenders.values():
            prefix = f"{operation}_{contender.name}"
            report.figures[f"{prefix}_per_second"] = contender.median(operation, "per_second")
            report.figures[f"{prefix}_p50_ms"] = contender.median(operation, "p50")
            report.figures[f"{prefix}_p99_ms"] = contender.median(operation, "p99")
    for place, operation in enumerate(("one", "page")):
        for name, bars in BARS.items():
            if name in contenders:
                # Each round against its neighbour's: what else the machine did then cancels out.
                ratios = [
                    mine.per_second / theirs.per_second
                    for mine, theirs in zip(
                        ours.rounds[operation], contenders[name].rounds[operation], strict=True
                    )
                ]
                shown = "one" if operation == "one" else "page50"
                report.targets.append(Target(f"{shown}_vs_{name}", statistics.median(ratios), bars[place]))
    report.targets.append(
        Target("memory_per_worker_mb", ours.running.memory_megabytes(), MEMORY_BAR_MEGABYTES, at_most=True)
    )
    for name, contender in contenders.items():
        report.figures[f"memory_{name}_mb"] = contender.running.memory_megabytes()
    report.figures["start_seconds"] = ours.running.start_seconds
    report.figures["client_cores"] = ours.median("one", "client_cores")


def compile_milliseconds() -> float:
    """The median of making the page's plan from its text, for a partner, with nothing kept."""
    from resolvers.root import make_schema  # noqa: PLC0415 - a second of imports that only this needs

    schema = make_schema()
    caller = VisibilityClass.of(partner(1))
    took = []
    for _ in range(15):
        planner = Planner(schema, visibility.predicate, visibility.values, partition=visibility.partition)
        started = time.perf_counter()
        planner.plan(planner.operation(PAGE_OF_50, None), {}, caller)
        took.append((time.perf_counter() - started) * 1000)
    return statistics.median(took)


async def _growth(
    report: Report, postgres: EmbeddedPostgres, rounds: int, seconds: float, progress: Progress
) -> None:
    """Our server alone over few and over many orders, taking turns."""
    async with contextlib.AsyncExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="oms-bench-")))
        sizes = {}
        for orders in GROWTH:
            progress(f"making a database of {orders:,} orders")
            url = await databases.shop(postgres, orders)
            sizes[orders] = await _ours(url, orders, stack, logs)
            sizes[orders].one.pop()
        await _take_turns(
            {str(orders): contender for orders, contender in sizes.items()}, rounds, seconds, progress
        )
        few, many = (sizes[orders] for orders in GROWTH)
        for operation in ("one", "page"):
            for orders, contender in sizes.items():
                for figure in ("per_second", "p99"):
                    report.figures[f"{operation}_{orders}_{figure}"] = contender.median(operation, figure)
            ratio = many.median(operation, "per_second") / few.median(operation, "per_second")
            report.targets.append(Target(f"{operation}_growth", ratio, 1 - FLAT))
        for orders, contender in sizes.items():
            report.figures[f"memory_{orders}_mb"] = contender.running.memory_megabytes()
            report.figures[f"start_{orders}_seconds"] = contender.running.start_seconds
