"""`oms storm`: each fault for its share of the time, under the same load, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import asdict, dataclass, field

from bench.report import Report, Target
from bench.storm.clients import Client
from bench.storm.faults import FAULTS, Fault, Injected
from bench.storm.fleet import Fleet, fleet
from bench.storm.ledger import Ledger, verify
from bench.storm.shop import Shop, open_shop
from bench.storm.watch import Watch, at_rest, provider_differences

CLIENTS = 16
GAP_SECONDS = 2.0
"""The longest time without an acknowledgement that is allowed once a fault is repaired."""

CALM_BEFORE, CALM_AFTER = 1.0, 3.0
"""Seconds of load before a fault and after its repair; the gap is measured in the latter."""

HOLD_SECONDS = 1.0
INJECTION_SECONDS = 120.0
"""A fault that is not done and repaired by then is a mistake of the storm's own."""

REPLAYED = 40
"""So many acknowledged calls are sent once more after each fault: they must be answered the same."""

REST_SECONDS = 60.0


@dataclass(slots=True)
class Outcome:
    """What one fault came to."""

    fault: str
    injections: int = 0
    acknowledged: int = 0
    found: int = 0
    duplicated: int = 0
    lost: int = 0
    violated: int = 0
    longest_gap_seconds: float = 0.0
    refused: int = 0
    retries: int = 0
    given_up: int = 0
    invariant_runs: int = 0
    injected: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    def targets(self) -> list[Target]:
        return [
            Target(f"{self.fault}_lost", self.lost, 0, at_most=True),
            Target(f"{self.fault}_duplicated", self.duplicated, 0, at_most=True),
            Target(f"{self.fault}_violated", self.violated, 0, at_most=True),
            Target(f"{self.fault}_gap_seconds", self.longest_gap_seconds, GAP_SECONDS, at_most=True),
        ]


class Storm:
    """One fault after the other over one fleet and one shop."""

    def __init__(self, over: Fleet, shop: Shop) -> None:
        self._fleet = over
        self._shop = shop
        self._number = 0

    async def weather(self, fault: Fault, seconds: float) -> Outcome:
        """The fault again and again for about `seconds` (at least once), then everything is looked for."""
        self._number += 1
        prefix = f"storm-{self._number}-"
        ledger, outcome, watch = Ledger(), Outcome(fault.name), Watch(self._fleet)
        async with _clients(self._fleet, self._shop, prefix, ledger, self._number) as clients:
            async with _watched(watch), _load(clients) as failures:
                try:
                    await self._inject(fault, seconds, ledger, outcome, failures)
                finally:
                    if fault.undo is not None:
                        async with asyncio.timeout(INJECTION_SECONDS):
                            await fault.undo(self._fleet)
            left = await at_rest(self._fleet, REST_SECONDS)
            await _replay(clients, ledger)
        await watch.once()
        await self._judge(outcome, ledger, watch, left, prefix)
        return outcome

    async def _inject(
        self,
        fault: Fault,
        seconds: float,
        ledger: Ledger,
        outcome: Outcome,
        failures: Collection[asyncio.Task[None]],
    ) -> None:
        until = time.monotonic() + seconds
        await asyncio.sleep(CALM_BEFORE)
        while outcome.injections == 0 or time.monotonic() < until:
            async with asyncio.timeout(INJECTION_SECONDS):
                injected: Injected = await fault.inject(self._fleet, HOLD_SECONDS)
            await asyncio.sleep(max(0.0, injected.recovered_at + CALM_AFTER - time.monotonic()))
            outcome.injections += 1
            _add(outcome.injected, injected.figures)
            gap = ledger.longest_gap(injected.recovered_at, time.monotonic())
            outcome.longest_gap_seconds = max(outcome.longest_gap_seconds, gap)
            for task in failures:
                if task.done():
                    task.result()  # a client that ended early has found a mistake in the storm itself

    async def _judge(
        self, outcome: Outcome, ledger: Ledger, watch: Watch, left: dict[str, int], prefix: str
    ) -> None:
        connection = await self._fleet.connect()
        try:
            verdict = await verify(connection, ledger.calls, prefix)
        finally:
            await connection.close()
        differences = await provider_differences(self._fleet)
        outcome.acknowledged = verdict.acknowledged
        outcome.found = verdict.found
        outcome.duplicated = verdict.duplicated
        outcome.lost = verdict.lost
        outcome.violated = (
            sum(watch.broken.values()) + len(ledger.broken) + len(differences) + sum(left.values())
        )
        outcome.refused = sum(ledger.refusals.values())
        outcome.retries = ledger.retries
        outcome.given_up = ledger.given_up
        outcome.invariant_runs = watch.runs
        outcome.examples = [
            *verdict.examples,
            *watch.examples,
            *ledger.broken,
            *(f"the provider's books differ: {difference}" for difference in differences),
            *(f"{name}: {number} not done after {REST_SECONDS:.0f} s" for name, number in left.items()),
        ][:10]
        if not any(outcome.injected.values()):
            outcome.violated += 1
            outcome.examples.append("the fault did not happen")


def _add(figures: dict[str, int], more: dict[str, int]) -> None:
    for name, value in more.items():
        figures[name] = figures.get(name, 0) + value


@contextlib.asynccontextmanager
async def _clients(
    over: Fleet, shop: Shop, prefix: str, ledger: Ledger, seed: int
) -> AsyncIterator[list[Client]]:
    made = [Client(number, prefix, shop, over.ports, ledger, seed) for number in range(CLIENTS)]
    try:
        yield made
    finally:
        await asyncio.gather(*(client.close() for client in made))


@contextlib.asynccontextmanager
async def _load(clients: Collection[Client]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """All clients at work until the block ends; each still gets its last answer."""
    stopping = asyncio.Event()
    tasks = [asyncio.create_task(client.run(stopping)) for client in clients]
    try:
        yield tasks
    finally:
        stopping.set()
        await asyncio.gather(*tasks)


@contextlib.asynccontextmanager
async def _watched(watch: Watch) -> AsyncIterator[None]:
    task = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _replay(clients: Collection[Client], ledger: Ledger) -> None:
    """Send some acknowledged calls again, as they were; the ledger compares the answers."""
    answered = ledger.acknowledged()
    again = answered[:: max(1, len(answered) // REPLAYED)]

    async def replay(client: Client) -> None:
        for call in again:
            if call.account == client.account:
                await client.send(call)

    await asyncio.gather(*map(replay, clients))


async def run(*, minutes: float | None, faults: Collection[str], progress: Callable[[str], None]) -> Report:
    """Storm with these faults. Without `minutes` each happens once: about a minute in all."""
    report = Report()
    chosen = []
    for name in faults or FAULTS:
        why = FAULTS[name].skipped()
        if why is None:
            chosen.append(FAULTS[name])
        else:
            report.skipped[name] = why
    seconds = 60 * minutes / max(1, len(chosen)) if minutes else 0.0
    async with fleet() as over:
        storm = Storm(over, await open_shop(over.ports[0]))
        for fault in chosen:
            progress(f"{fault.name}: {fault.meaning}")
            outcome = await storm.weather(fault, seconds)
            report.targets += outcome.targets()
            report.figures[fault.name] = {
                name: value for name, value in asdict(outcome).items() if name != "fault"
            }
    return report


COLUMNS = ("acknowledged", "found", "duplicated", "lost", "violated")


def table(report: Report) -> list[str]:
    """The report for people: a line a fault, then what was found wrong."""
    heads = "".join(f"{name:>14}" for name in COLUMNS)
    lines = [f"{'fault':<12}{heads}{'longest gap':>14}"]
    for name, figures in report.figures.items():
        numbers = "".join(f"{figures[column]:>14,}" for column in COLUMNS)
        lines.append(f"{name:<12}{numbers}{figures['longest_gap_seconds']:>12.2f} s")
    lines += [f"skipped: {name}: {reason}" for name, reason in report.skipped.items()]
    for name, figures in report.figures.items():
        lines += [f"{name}: {example}" for example in figures["examples"]]
    missed = [target.name for target in report.targets if not target.ok]
    lines.append("missed: " + ", ".join(missed) if missed else "nothing lost, nothing done twice")
    return lines
