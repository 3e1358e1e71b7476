"""The PostgreSQL inside: found, initialised, started, watched and stopped by us.

It listens on a unix socket only, keeps its data in a directory of ours, never
outlives us and never has a rival on its directory. Three mechanisms carry that:

- The server inherits a `flock` on `postgres.lock`. The kernel frees it when the
  last of the server's processes is gone, so holding it proves that nobody runs on
  this directory: whatever a stale `postmaster.pid` says, in whatever container.
- The server asks the kernel for SIGINT (a fast, clean shutdown) when we die, so
  that `kill -9` of us leaves nothing running. Elsewhere than on Linux it stays,
  and the next start adopts it.
- `postmaster.pid` says when it is ready, and where its socket is to whoever comes
  second: that one uses the running server instead of starting another.
"""

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
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import structlog
from sqlalchemy.engine import URL

from app.postgres_tools import (
    Account,
    PostgresError,
    account_for,
    as_account,
    binaries,
    executable_by,
    major_version,
    options,
    private_directory,
    reachable,
    server_version,
)

DATABASE = "oms"
SUPERUSER = "oms"
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_LIMIT = 107  # bytes; sockaddr_un on Linux holds 108 with its NUL
START_TIMEOUT_SECONDS = 300  # crash recovery replays at most max_wal_size, which takes well under this
STOP_TIMEOUT_SECONDS = 60
LOG_LIMIT_BYTES = 10 * 1024 * 1024
INHERITED_DIRECTORY = "/proc/self/cwd"
PR_SET_PDEATHSIG = 1

log = structlog.get_logger(__name__)


class EmbeddedPostgres:
    """One PostgreSQL server on `directory`, ours or one that already runs there.

    `binary_directory` overrides the search for binaries; `settings` are further
    server settings, which tests use to trade durability for speed.
    """

    def __init__(
        self,
        directory: Path,
        *,
        binary_directory: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory.expanduser().absolute()
        self.cluster = self.directory / "pgdata"
        self.log_path = self.directory / "postgres.log"
        self._chosen_binaries = binary_directory
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_directory: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def owned(self) -> bool:
        """Whether this process started the server, and so stops it."""
        return self._process is not None

    @property
    def binaries(self) -> Path:
        """Where `postgres`, `pg_dump` and the others are."""
        return binaries(self._chosen_binaries)

    @property
    def socket_directory(self) -> Path:
        """What clients name as their host; known once the server is ready."""
        if self._socket_directory is None:
            raise RuntimeError("the server is not started")
        return self._socket_directory

    def url(self, database: str = DATABASE) -> str:
        """The address of `database` for SQLAlchemy with asyncpg."""
        return URL.create(
            "postgresql+asyncpg",
            username=SUPERUSER,
            database=database,
            query={"host": str(self.socket_directory)},
        ).render_as_string(hide_password=False)

    def start(self) -> None:
        """Return once a server is ready on the directory: the one that runs there, else a new one.

        Raises PostgresError with a sentence for people. Call it from a thread that
        lives as long as the server should: the kernel ties the server to that thread.
        """
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._advance():
            if time.monotonic() > deadline:
                self.stop()
                raise PostgresError(
                    f"PostgreSQL on {self.directory} was not ready within {START_TIMEOUT_SECONDS} s; "
                    f"{self.log_path} says what it is doing."
                )
            time.sleep(0.01)

    def erase(self) -> None:
        """Delete the database, for good. Refused while a server runs on it."""
        lock = self._lock()
        if lock is None:
            raise PostgresError(f"{self.directory} is in use by another `oms`: stop that first.")
        with lock:
            shutil.rmtree(self.cluster, ignore_errors=True)

    def alive(self) -> bool:
        """Whether the server that we use, ours or adopted, still runs."""
        if self._process is not None:
            if self._process.poll() is None:
                return True
            self._process = None
            return False
        return self._running_status() is not None

    async def supervise(self) -> None:
        """Start the server again whenever it is gone, until cancelled.

        It may have crashed, or it belonged to another command that has ended. Runs in
        the caller's thread, so that a new server too lives as long as the caller.
        """
        while True:
            await asyncio.sleep(0.2)
            if self.alive():
                continue
            log.warning("postgres_gone", directory=str(self.directory))
            try:
                while not self._advance():  # noqa: ASYNC110 - another process's file is not an Event
                    await asyncio.sleep(0.02)
            except (PostgresError, OSError) as error:
                log.error("postgres_not_started", reason=str(error))
                await asyncio.sleep(1)
            else:
                log.info("postgres_restarted", owned=self.owned)

    def stop(self) -> None:
        """End the server if we started it: cleanly, so that the next start needs no recovery."""
        if self._process is None:
            return
        process, self._process = self._process, None
        # Fast shutdown; then immediate, which loses nothing but needs recovery; then by force.
        for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if process.poll() is None:
                process.send_signal(how)
                try:
                    process.wait(STOP_TIMEOUT_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
            break
        lock = self._lock()
        if lock is not None:
            with lock, contextlib.suppress(OSError):  # not empty: still of use to somebody
                if self.directory not in self.socket_directory.parents:
                    self.socket_directory.rmdir()

    def _advance(self) -> bool:
        """One step towards a ready server; True once there is one. To be called again after a moment."""
        if self._process is None:
            lock = self._lock()
            if lock is None or self._running_status() is not None:
                ready = self._running_status() == "ready"
                if lock is not None:
                    lock.close()
                return ready
            with lock:
                account = account_for(self.cluster if self.cluster.exists() else None)
                self._initialise(account)
                self._spawn(account, lock)
            return False
        if (code := self._process.poll()) is not None:
            self._process = None
            raise PostgresError(
                f"PostgreSQL on {self.directory} ended while it started (exit {code}). "
                f"The end of {self.log_path}:\n{self._log_tail()}"
            )
        return self._running_status() == "ready"

    def _lock(self) -> IO[bytes] | None:
        """The right to start a server here; None while a server or another starter has it."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            handle = open(self.directory / "postgres.lock", "ab")  # noqa: SIM115 - the server inherits it
        except PermissionError as error:
            raise PostgresError(
                f"{self.directory} cannot be written by this user: run as its owner, or name another "
                "directory with --data or OMS_DATA_DIR."
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return None
        return handle

    def _running_status(self) -> str | None:
        """ "ready", "starting" or "stopping" of the server on our directory; None when there is none."""
        try:
            lines = (self.cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise PostgresError(
                f"{self.cluster} belongs to another user: run as that user or as root, or name another "
                "directory with --data or OMS_DATA_DIR."
            ) from error
        if not lines or not lines[0].isdigit() or not self._is_server(int(lines[0])):
            return None
        if len(lines) < 8:
            return "starting"
        self._socket_directory = Path(lines[4])
        return lines[7].strip()

    def _is_server(self, pid: int) -> bool:
        """Whether that process is the server of our directory, and not a stranger with a reused number."""
        if self._process is not None:
            return pid == self._process.pid
        try:
            if sys.platform == "linux":  # a postmaster never leaves its data directory
                return os.path.samefile(f"/proc/{pid}/cwd", self.cluster)
            os.kill(pid, 0)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return False
        return True

    def _initialise(self, account: Account | None) -> None:
        """Make the data directory, all of it or nothing, or refuse one of another release."""
        ours = server_version(self.binaries)
        if (self.cluster / "PG_VERSION").exists():
            theirs = major_version(self.cluster)
            if theirs != ours.major:
                raise PostgresError(
                    f"The data in {self.directory} is of PostgreSQL {theirs} and this is PostgreSQL "
                    f"{ours.major}. Move it: `OMS_POSTGRES_BIN=/usr/lib/postgresql/{theirs}/bin oms backup "
                    f"--data {self.directory} oms.backup` with that release installed, then "
                    "`oms restore --data NEW_DIRECTORY oms.backup` without OMS_POSTGRES_BIN."
                )
            return
        for interrupted in self.directory.glob("pgdata.*"):
            shutil.rmtree(interrupted)
        fresh = self.directory / f"pgdata.{os.getpid()}"
        fresh.mkdir(mode=0o700)
        if account:
            os.chown(fresh, account.uid, account.gid)
        where = self._address(fresh, account)
        # Text sorts by code point everywhere and for ever (an index does not break with a libc
        # update), while letters beyond ASCII are still known as letters.
        locale = (
            ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
            if ours.major >= 17
            else ["--locale=C", "--lc-ctype=C.UTF-8"]
        )
        self._run("initdb", "-D", where, "-U", SUPERUSER, "-E", "UTF8", *locale,
                  "--auth-local=trust", "--auth-host=reject", cwd=fresh, account=account)  # fmt: skip
        self._run("postgres", "--single", "-D", where, "template1", cwd=fresh, account=account,
                  statement=f"create database {DATABASE}")  # fmt: skip
        fresh.rename(self.cluster)

    def _address(self, cluster: Path, account: Account | None) -> str:
        """How the server names its data directory.

        When we are root the server runs as somebody else, to whom the way to the
        directory may be closed (a home directory, a private temporary one). It can
        still stand in it: it inherits our working directory and stays there.
        """
        if account is None or reachable(cluster, account):
            return str(cluster)
        if sys.platform != "linux" or server_version(self.binaries).major < 16:  # 15 looks for its way back
            raise PostgresError(
                f"PostgreSQL cannot run as root, and {account.name} may not enter {cluster.parent}: "
                "name another directory with --data or OMS_DATA_DIR."
            )
        return INHERITED_DIRECTORY

    def _place_socket(self, account: Account | None) -> Path:
        """`run/` beside the data; a short private directory where that path is too long or closed."""
        beside = self.directory / "run"
        usable = (
            len(os.fsencode(beside / SOCKET_NAME)) <= SOCKET_PATH_LIMIT
            and "," not in str(beside)  # clients read a comma as a list of hosts
            and (account is None or reachable(beside, account))
        )
        return private_directory(beside if usable else None, self.directory, account)

    def _spawn(self, account: Account | None, lock: IO[bytes]) -> None:
        sockets = self._place_socket(account)
        for stale in (self.cluster / "postmaster.pid", sockets / f"{SOCKET_NAME}.lock"):
            # The lock is ours, so these are a dead server's, even if a living process has its number.
            stale.unlink(missing_ok=True)
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_LIMIT_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        chosen = options(sockets) | self._settings
        parent = os.getpid()
        libc = ctypes.CDLL(None) if sys.platform == "linux" else None

        def in_child() -> None:
            if libc is not None:
                libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT)
                if os.getppid() != parent:  # we died before the kernel knew
                    os._exit(1)

        command = [
            str(executable_by(account, self.binaries) / "postgres"),
            "-D",
            self._address(self.cluster, account),
            *(f"--{name}={value}" for name, value in chosen.items()),
        ]
        with self.log_path.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own program and settings
                command,
                cwd=self.cluster,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,  # Ctrl-C at the terminal is for us, who then stop it cleanly
                preexec_fn=in_child,  # noqa: PLW1509 - runs after the change of user, which would undo it
                pass_fds=(lock.fileno(),),
                **as_account(account),
            )

    def _run(
        self, tool: str, *arguments: str, cwd: Path, account: Account | None, statement: str = ""
    ) -> None:
        try:
            subprocess.run(  # noqa: S603 - our own program and arguments
                [executable_by(account, self.binaries) / tool, *arguments],
                cwd=cwd,
                input=statement.encode(),
                check=True,
                capture_output=True,
                env=_environment(),
                **as_account(account),
            )
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").strip()
            raise PostgresError(f"PostgreSQL's {tool} failed in {self.directory}: {said}") from error
        except PermissionError as error:
            raise PostgresError(
                "PostgreSQL cannot run as root, and this container may not change to another user: "
                "run oms as an ordinary user, or set OMS_DATABASE_URL to a server of yours."
            ) from error

    def _log_tail(self) -> str:
        return self.log_path.read_text(errors="replace")[-2000:].strip()


def _environment() -> dict[str, str]:
    """Ours without PG* variables, which would change what the server and initdb do."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}
