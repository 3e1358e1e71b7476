"""What a storm rages over: PostgreSQL, the proxy before it, two servers and a worker, all real processes."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from app.cli.database import bring_to_head
from app.postgres import PR_SET_PDEATHSIG, SOCKET_NAME, EmbeddedPostgres
from app.postgres_tools import account_for, as_account, executable_by
from bench.ports import free_ports
from bench.servers import ROOT, START_TIMEOUT_SECONDS
from bench.storm.proxy import Proxy
from bench.storm.wal_disk import WalDisk
from db.engine import asyncpg_dsn

SECRET = "a storm's own secret, long enough for HS256"  # noqa: S105 - of a database that is thrown away
SERVERS = 2
POOL_SIZE = 5
"""Small, so that sixteen clients have to wait for connections."""

FAKETIME = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"),
    Path("/usr/lib64/faketime/libfaketime.so.1"),
    Path("/usr/lib/faketime/libfaketime.so.1"),
)

LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None

SETTINGS = {"shared_buffers": "128MB", "max_connections": "80", "wal_recycle": "off"}
"""Durability stays as shipped; the rest is made to fit beside others on one machine.

Used files of the log are not kept for later: a new one needs room, as on a disk that is full.
"""


@dataclass(slots=True)
class Member:
    """A process of the fleet, which its keeper starts again whenever it ends."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    port: int | None = None
    clock: str | None = None
    """How far off its clock is, such as +2h."""
    process: asyncio.subprocess.Process | None = None
    starts: int = 0
    wanted: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep(self) -> None:
        while True:
            await self.wanted.wait()
            environment = {**os.environ, **self.environment}
            if self.clock is not None:
                environment |= {
                    "LD_PRELOAD": str(faketime()),
                    "FAKETIME": self.clock,
                    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                    "DONT_FAKE_MONOTONIC": "1",
                }
            with self.log.open("ab") as output:
                self.process = await asyncio.create_subprocess_exec(
                    *self.command,
                    env=environment,
                    cwd=ROOT,
                    stdout=output,
                    stderr=output,
                    preexec_fn=_die_with_us,
                )
            self.starts += 1
            await self.process.wait()
            await asyncio.sleep(0.1)

    def send(self, number: int) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)

    async def end(self) -> None:
        self.wanted.clear()
        self.send(signal.SIGTERM)
        if self.process is not None:
            try:
                await asyncio.wait_for(self.process.wait(), 30)
            except TimeoutError:
                self.send(signal.SIGKILL)
                await self.process.wait()


def _die_with_us() -> None:
    """What a killed storm had started must not go on."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def faketime() -> Path | None:
    """The library that gives a process another clock; None where it is not installed."""
    return next((path for path in FAKETIME if path.exists()), None)


class Fleet:
    """Started with `fleet()`; faults are done to it by its methods."""

    def __init__(self, directory: Path, postgres: EmbeddedPostgres) -> None:
        self.directory = directory
        self.postgres = postgres
        self.wal_disk = WalDisk(postgres.cluster)
        self.proxy = Proxy(str(postgres.socket_directory / SOCKET_NAME))
        self.servers: list[Member] = []
        self.workers: list[Member] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._watch: asyncio.Task[None] | None = None

    @property
    def members(self) -> list[Member]:
        return [*self.servers, *self.workers]

    @property
    def dsn(self) -> str:
        """The database itself, past the proxy: for those who watch."""
        return asyncpg_dsn(self.postgres.url())

    @property
    def ports(self) -> list[int]:
        return [server.port for server in self.servers if server.port is not None]

    async def start(self) -> None:
        await asyncio.to_thread(bring_to_head, self.postgres.url())
        proxied, *served = free_ports(1 + SERVERS)
        await self.proxy.start(proxied)
        environment = {
            "OMS_DATABASE_URL": f"postgresql://oms@127.0.0.1:{self.proxy.port}/oms",
            "OMS_DEVELOPMENT_SECRET": SECRET,
            "OMS_LOG_FORMAT": "json",
            "OMS_LOG_LEVEL": "warning",
            "OMS_POOL_SIZE": str(POOL_SIZE),
        }
        oms = str(Path(sys.executable).parent / "oms")
        for number, port in enumerate(served):
            member = Member(
                f"server{number}",
                [oms, "serve", "--port", str(port)],
                environment,
                self.directory / f"server{number}.log",
                port,
            )
            self.servers.append(member)
            member.wanted.set()
            self._tasks.append(asyncio.create_task(member.keep()))
        worker = Member("worker", [oms, "worker"], environment, self.directory / "worker.log")
        self.workers.append(worker)
        worker.wanted.set()
        self._tasks.append(asyncio.create_task(worker.keep()))
        self._watch = asyncio.create_task(self.postgres.supervise())
        await asyncio.gather(*map(self.answering, self.ports))

    async def stop(self) -> None:
        await asyncio.gather(*(member.end() for member in self.members))
        for task in self._tasks:
            task.cancel()
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.proxy.stop()

    async def answering(self, port: int) -> None:
        """Wait until a server says that it is ready."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not await answers(port):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server on port {port} does not answer: {self._said(port)}")
            await asyncio.sleep(0.02)

    def _said(self, port: int) -> str:
        return next(server.log.read_text()[-2000:] for server in self.servers if server.port == port)

    async def any_answering(self) -> None:
        """Wait until one of the servers says that it is ready."""
        waiting = [asyncio.create_task(self.answering(port)) for port in self.ports]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def connect(self) -> asyncpg.Connection[asyncpg.Record]:
        """A connection past the proxy."""
        return await asyncpg.connect(
            self.dsn, timeout=5, server_settings={"application_name": "storm", "statement_timeout": "0"}
        )

    # PostgreSQL.

    @contextlib.asynccontextmanager
    async def postgres_stopped(self, *, at_once: bool = False) -> AsyncIterator[None]:
        """No server until the block ends. `at_once`: as of a machine that is switched off, without a checkpoint."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if at_once:
            os.kill(_postmaster(self.postgres), signal.SIGQUIT)
            while self.postgres.alive():  # noqa: ASYNC110 - another process's end is not an Event
                await asyncio.sleep(0.01)
        else:
            await asyncio.to_thread(self.postgres.stop)
        try:
            yield
        finally:
            self._watch = asyncio.create_task(self.postgres.supervise())

    async def postgres_back(self) -> None:
        """Wait until PostgreSQL takes connections."""
        while True:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection = await self.connect()
                await connection.close()
                return
            await asyncio.sleep(0.02)

    async def terminate_backends(self) -> int:
        connection = await self.connect()
        try:
            ended: int = await connection.fetchval(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity "
                "where application_name <> 'storm' and backend_type = 'client backend'"
            )
            return ended
        finally:
            await connection.close()

    # The disk.

    async def limit_files(self, largest: int | None) -> None:
        """No file of PostgreSQL may grow beyond this many bytes, from now on; None: as it was.

        Asked of the kernel by PostgreSQL's own user: root may not do so everywhere.
        """
        soft = "unlimited" if largest is None else str(largest)
        account = as_account(account_for(self.postgres.cluster))
        for pid in self._server_processes():
            command = [str(shutil.which("prlimit")), f"--pid={pid}", f"--fsize={soft}:"]
            process = await asyncio.create_subprocess_exec(
                *command, stderr=asyncio.subprocess.DEVNULL, **account
            )
            await process.wait()  # its failure is a backend's that has ended by now

    def _server_processes(self) -> Iterator[int]:
        postmaster = _postmaster(self.postgres)
        yield postmaster
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(status.read_text().rpartition(")")[2].split()[1]) == postmaster:
                    yield int(status.parent.name)

    # Clocks.

    async def set_clocks(self, *offsets: str | None) -> None:
        """Start the servers again, each with its clock so far off."""
        before = [server.starts for server in self.servers]
        for server, offset in zip(self.servers, offsets, strict=True):
            server.clock = offset
            server.send(signal.SIGKILL)
        for server, starts in zip(self.servers, before, strict=True):
            while server.starts == starts:  # noqa: ASYNC110 - its keeper starts it again soon
                await asyncio.sleep(0.01)
            if server.port is not None:
                await self.answering(server.port)


async def answers(port: int) -> bool:
    """Whether the server there says that it is ready."""
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 1)
    except (OSError, TimeoutError):
        return False
    try:
        writer.write(b"GET /readyz HTTP/1.1\r\nhost: storm\r\nconnection: close\r\n\r\n")
        line = await asyncio.wait_for(reader.readline(), 2)
        return b" 200 " in line
    except (OSError, TimeoutError):
        return False
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def fleet() -> AsyncIterator[Fleet]:
    """A fleet with an empty, migrated database of its own; all of it is gone afterwards."""
    await asyncio.to_thread(_clear_up)
    directory, claim = _directory()
    postgres = EmbeddedPostgres(directory, settings=SETTINGS)
    try:
        await asyncio.to_thread(_small_segments, postgres)
        postgres.start()
        made = Fleet(directory, postgres)
        try:
            await made.start()
            yield made
        finally:
            await made.stop()
            postgres.stop()
            made.wal_disk.unmount()
    finally:
        postgres.stop()
        shutil.rmtree(directory, ignore_errors=True)
        os.close(claim)


def _directory() -> tuple[Path, int]:
    """A new directory, and the descriptor whose lock says for as long as we live that it is ours."""
    made = Path(tempfile.mkdtemp(prefix="oms-storm-"))
    made.chmod(0o755)  # releases before 16 cannot run as another user in a private directory
    claim = os.open(made, os.O_RDONLY)
    fcntl.flock(claim, fcntl.LOCK_EX)
    return made, claim


def _clear_up() -> None:
    """Remove what storms that were killed have left.

    With it goes a server that was asked to end amid a recovery and waits for ever, which PostgreSQL 18
    may do, and with that one the disk that it has in its own mount namespace.
    """
    for cluster in Path(tempfile.gettempdir()).glob("oms-storm-*/pgdata"):
        left = EmbeddedPostgres(cluster.parent)
        claim = os.open(left.directory, os.O_RDONLY)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            while left.alive():
                os.kill(_postmaster(left), signal.SIGQUIT)
                time.sleep(0.1)
            shutil.rmtree(left.directory, ignore_errors=True)
        except BlockingIOError:
            continue  # somebody else's, who is at it
        finally:
            os.close(claim)


def _postmaster(postgres: EmbeddedPostgres) -> int:
    return int((postgres.cluster / "postmaster.pid").read_text().split()[0])


def _small_segments(postgres: EmbeddedPostgres) -> None:
    """Give the log files of one megabyte: tables can then hit a limit on file sizes that those do not."""
    postgres.start()
    postgres.stop()
    account = account_for(postgres.cluster)
    subprocess.run(  # noqa: S603 - PostgreSQL's own program
        [executable_by(account, postgres.binaries) / "pg_resetwal", "--wal-segsize=1", postgres.cluster],
        check=True,
        capture_output=True,
        cwd=postgres.cluster,
        **as_account(account),
    )
