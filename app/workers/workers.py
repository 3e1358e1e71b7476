"""The loops of the background work, each restarted when what it depends on comes back."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

import asyncpg
import structlog
from pgqueuer import RetryRequested
from pgqueuer.models import Job as QueuedJob

from app.providers.protocol import PaymentProvider
from app.settings import Settings
from app.workers import queue
from app.workers.payments import TIMEOUT_SECONDS, PaymentJobs
from app.workers.schedules import Retention, Schedule, schedules
from db.engine import Engine, asyncpg_dsn
from domain.access import SYSTEM
from services.backorders import ServeBackorders, serve_backorders
from services.consumers import BATCH, JobKind, consume
from services.unit_of_work import UnitOfWork

log = structlog.get_logger(__name__)

IDLE_SECONDS = 0.25
"""How long the reader of the log waits when nobody pokes it."""

GATHER_SECONDS = 0.05
"""While there is work, for so long events come together before they are read: a read costs the same for many."""

LOST_AFTER = timedelta(seconds=10)
"""A job whose worker has given no sign of life for so long is given to another."""

LOOK_AROUND = timedelta(seconds=1)
"""How often the queue is looked at when nothing wakes it."""

CONCURRENT = 20
"""Jobs of one worker at a time; each waits for a provider, mostly."""

LONGEST_PAUSE_SECONDS = 30.0


class Workers:
    """All background work over one database. Several instances share it.

    `unit_of_work` is the process's own, so that what jobs write wakes the relay as
    what callers write does.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        unit_of_work: UnitOfWork,
        providers: Mapping[str, PaymentProvider],
        *,
        provider_timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        if settings.database_url is None:
            raise ValueError("workers need a database")
        self._address = asyncpg_dsn(settings.database_url.get_secret_value())
        self._engine = engine
        self._unit_of_work = unit_of_work
        self._payments = PaymentJobs(
            engine, unit_of_work, providers, timeout_seconds=provider_timeout_seconds
        )
        days = settings.event_retention_days
        retention = Retention(
            keys=timedelta(days=settings.idempotency_retention_days),
            events=None if days is None else timedelta(days=days),
        )
        self._schedules = schedules(engine, unit_of_work, self._payments, retention)
        self._poked = asyncio.Event()
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def poke(self) -> None:
        """The log has grown: read it now. Only saves time; it is read anyway."""
        self._poked.set()

    def moved(self, rows: Sequence[asyncpg.Record]) -> None:
        """The log has grown by these. They are read now if a job may be made of one, else with what comes next."""
        if any(row["matters"] for row in rows):
            self.poke()

    async def start(self) -> None:
        self._stopping.clear()
        loops: dict[str, Callable[[], Awaitable[None]]] = {
            "read the log": self._read_log,
            "run jobs": self._run_jobs,
        }
        for schedule in self._schedules:
            loops[schedule.name] = self._repeat(schedule)
        self._tasks = [
            asyncio.create_task(self._supervise(name, loop), name=f"worker: {name}")
            for name, loop in loops.items()
        ]

    async def stop(self, within_seconds: float = 10.0) -> None:
        """Finish what is being done, at most `within_seconds`; what is cut off is done again elsewhere."""
        self._stopping.set()
        self._poked.set()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=within_seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _supervise(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Run a loop again whenever it fails, at growing intervals: the database may be restarting."""
        pause = 0.2
        while not self._stopping.is_set():
            began = asyncio.get_running_loop().time()
            try:
                await loop()
            except (
                OSError,
                TimeoutError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,
            ) as error:
                log.warning("background_work_interrupted", work=name, error=repr(error))
            except Exception:
                log.exception("background_work_failed", work=name)
            if asyncio.get_running_loop().time() - began > LONGEST_PAUSE_SECONDS:
                pause = 0.2
            await self._pause(pause * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _read_log(self) -> None:
        while not self._stopping.is_set():
            poked = self._poked.is_set()
            self._poked.clear()
            async with self._engine.begin() as session:
                passed = await consume(session, queue.enqueue)
            if passed == BATCH:
                continue
            if passed or poked:
                await self._pause(GATHER_SECONDS)
            if poked and not passed:  # another process reads, and may have begun too early to see what came
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._poked.wait(), IDLE_SECONDS)

    def _repeat(self, schedule: Schedule) -> Callable[[], Awaitable[None]]:
        async def loop() -> None:
            while not self._stopping.is_set():
                if not await schedule.run():
                    await self._pause(schedule.every * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

        return loop

    async def _run_jobs(self) -> None:
        """Take jobs from the queue until told to stop, on a connection of its own.

        One connection, not a pool: when it dies everything here fails at once and is
        built anew, whereas a pool would go on without anybody listening.
        """
        connection = await asyncpg.connect(
            self._address, server_settings={"application_name": "oms-jobs", "TimeZone": "UTC"}
        )
        jobs = queue.manager(connection)
        jobs.entrypoint(JobKind.PAYMENT_TRANSACTION)(self._retried(self._payment))
        jobs.entrypoint(JobKind.BACKORDERS)(self._retried(self._backorders))
        stop = asyncio.create_task(self._stop_with(jobs.shutdown))
        try:
            await jobs.run(
                dequeue_timeout=LOOK_AROUND,
                batch_size=CONCURRENT // 2,
                max_concurrent_tasks=CONCURRENT,
                shutdown_on_listener_failure=True,
                heartbeat_timeout=LOST_AFTER,
            )
        finally:
            stop.cancel()
            connection.terminate()

    async def _stop_with(self, shutdown: asyncio.Event) -> None:
        await self._stopping.wait()
        shutdown.set()

    def _retried(
        self, work: Callable[[QueuedJob], Awaitable[None]]
    ) -> Callable[[QueuedJob], Awaitable[None]]:
        async def run(job: QueuedJob) -> None:
            try:
                await work(job)
            except Exception as error:
                log.exception("job_failed", job=job.entrypoint, attempts=job.attempts)
                pause = min(2.0**job.attempts, LONGEST_PAUSE_SECONDS)
                raise RetryRequested(timedelta(seconds=pause), reason=type(error).__name__) from error

        return run

    async def _payment(self, job: QueuedJob) -> None:
        await self._payments.run(queue.subject_of(job.payload))

    async def _backorders(self, job: QueuedJob) -> None:
        command = ServeBackorders(level_id=queue.subject_of(job.payload))
        while await self._unit_of_work.run(serve_backorders, command, actor=SYSTEM):
            pass
