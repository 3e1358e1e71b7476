"""Part (a) of `oms bench live`: the same events to a thousand subscribers, by us and by others.

In bursts, where we join what comes together in one write to a subscriber and the others write each event; and
paced, one event at a time, where nobody can join anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
import orjson

from bench import cpu, databases, servers
from bench.ports import free_port
from bench.report import Target
from bench.servers import Running, Skipped, on_one_core, serving
from bench.swarm import FIELDS, following, swarm
from db.engine import asyncpg_dsn

if TYPE_CHECKING:
    from bench.live import Bench

ONE_TO_ALL = 1_000
BURSTS = {"ours": 400, "starlette": 200, "raw": 300, "naive": 15, "mercurius": 100}
"""Events of a round; each takes the slower ones about as long as the faster."""

PACES = {"ours": 40, "starlette": 40, "raw": 40, "naive": 3, "mercurius": 10}
"""Events a second, one at a time: what each can hold without falling behind."""

PACED_SECONDS = 3

BARS = {"starlette": 1.2, "raw": 0.7, "naive": 20.0, "mercurius": 5.0}

Found = dict[str, list[tuple[float, float]]]
"""Of each server and round: deliveries a second, and a second of its processor."""


@dataclass(slots=True)
class Peer:
    """A server and how it is asked for events to everybody: so many, at a rate or as fast as it can."""

    name: str
    running: Running
    path: str
    template: str | None
    publish: Callable[[int, float | None], Awaitable[None]]


class FanOut:
    """Interleaved rounds of all servers."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    async def run(self, rounds: int) -> None:
        async with contextlib.AsyncExitStack() as stack:
            peers = [await self._ours(stack)]
            for name in ("starlette", "raw", "naive"):
                peers.append(await self._in_python(stack, name))
            try:
                peers.append(await self._mercurius(stack))
            except (Skipped, RuntimeError, OSError) as reason:
                self.bench.report.skipped["mercurius"] = str(reason)
            self.swarms = {
                peer.name: await stack.enter_async_context(
                    swarm(self.bench.program, peer.running.port, peer.path, ONE_TO_ALL, peer.template)
                )
                for peer in peers
            }
            for each in self.swarms.values():
                await each.ready()
            bursts: Found = {peer.name: [] for peer in peers}
            paced: Found = {peer.name: [] for peer in peers}
            for number in range(rounds + 1):
                self.bench.progress(
                    f"(a) {ONE_TO_ALL:,} subscribers of one order, round {number} of {rounds}"
                )
                for peer in peers:
                    burst = await self._round(peer, BURSTS[peer.name], None)
                    alone = await self._round(peer, PACES[peer.name] * PACED_SECONDS, PACES[peer.name])
                    if number:  # the first one warms
                        bursts[peer.name].append(burst)
                        paced[peer.name].append(alone)
        self._judge(bursts, paced)

    async def _round(self, peer: Peer, events: int, rate: float | None) -> tuple[float, float]:
        swarm = self.swarms[peer.name]
        await swarm.reset()
        before = cpu.of(peer.running.pid)
        await peer.publish(events, rate)
        seen = await swarm.until(events * ONE_TO_ALL, within=60)
        spent = cpu.of(peer.running.pid) - before
        return seen["msgs"] / seen["span_s"], seen["msgs"] / max(spent, 0.01)

    def _judge(self, bursts: Found, paced: Found) -> None:
        figures = self.bench.report.figures
        for name, measured in bursts.items():
            figures[f"fan_out_{name}_per_second"] = statistics.median(each[0] for each in measured)
            figures[f"fan_out_{name}_per_cpu_second"] = statistics.median(each[1] for each in measured)
        for name, measured in paced.items():
            figures[f"paced_{name}_per_cpu_second"] = statistics.median(each[1] for each in measured)
        for name, bar in BARS.items():
            if name not in bursts:
                continue
            figures[f"paced_vs_{name}_per_cpu"] = _ratio(paced, name, 1)
            for place, suffix in enumerate(("", "_per_cpu")):
                target = Target(f"fan_out_vs_{name}{suffix}", _ratio(bursts, name, place), bar)
                if suffix or self.bench.program.keeps_up:
                    self.bench.report.targets.append(target)
                else:
                    reason = "the subscribers in Python are slower than the servers"
                    self.bench.report.skipped[target.name] = reason

    async def _ours(self, stack: contextlib.AsyncExitStack) -> Peer:
        running = await stack.enter_async_context(self.bench.ours())

        async def publish(events: int, rate: float | None) -> None:
            await self.bench.write(orders=1, count=events, events_each=1, rate=rate)

        return Peer("ours", running, "/graphql", following(FIELDS), publish)

    async def _in_python(self, stack: contextlib.AsyncExitStack, name: str) -> Peer:
        port = free_port()
        command, environment = servers.uvicorn("bench.live_peers:app", asyncpg_dsn(self.bench.url), port)
        command += ["--ws", "websockets-sansio", "--ws-per-message-deflate", "false"]
        environment["BENCH_LIVE"] = name
        running = await stack.enter_async_context(
            serving(on_one_core(command), environment, port, log=self.bench.work / f"{name}.log")
        )
        template = None
        if name == "naive":
            selection = "cursor ts type version occurredAt toStatus"
            query = f'subscription {{ orderEvents(orderId: "%x") {{ {selection} }} }}'
            template = orjson.dumps({"id": "1", "type": "subscribe", "payload": {"query": query}}).decode()

        async def publish(events: int, rate: float | None) -> None:
            await asyncio.to_thread(_get, f"http://127.0.0.1:{port}/burst?n={events}&rate={rate or 0}")

        return Peer(name, running, "/graphql/" if template else "/bare", template, publish)

    async def _mercurius(self, stack: contextlib.AsyncExitStack) -> Peer:
        self.bench.progress("making the Node peer's database")
        postgres = self.bench.postgres
        dsn = await databases.peer(postgres)
        port = free_port()
        command, environment, cwd = await servers.mercurius(dsn, port, postgres.directory / "mercurius")
        log = self.bench.work / "mercurius.log"
        running = await stack.enter_async_context(
            serving(on_one_core(command), environment, port, log=log, cwd=cwd)
        )
        connection = await asyncpg.connect(dsn)
        stack.push_async_callback(connection.close)

        async def publish(events: int, rate: float | None) -> None:
            # Told as its own mutation tells it; the writes themselves are not what is measured here.
            for number in range(1, events + 1):
                await connection.execute("select pg_notify('order_placed', $1)", f'{{"id":{number}}}')
                await asyncio.sleep(1 / rate if rate else 0)

        query = "subscription { orderPlaced { id ts: code totalCents } }"
        template = orjson.dumps({"id": "1", "type": "subscribe", "payload": {"query": query}}).decode()
        return Peer("mercurius", running, "/graphql", template, publish)


def _ratio(found: Found, name: str, place: int) -> float:
    """Ours to theirs, the median of the rounds."""
    pairs = zip(found["ours"], found[name], strict=True)
    return statistics.median(mine[place] / theirs[place] for mine, theirs in pairs)


def _get(address: str) -> None:
    with urllib.request.urlopen(address, timeout=30) as response:  # noqa: S310 - loopback
        response.read()
