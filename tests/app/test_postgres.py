"""The embedded PostgreSQL: it starts, is shared, survives, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from app.postgres import EmbeddedPostgres
from app.postgres_tools import PostgresError, server_version
from db.engine import asyncpg_dsn

ROOT = Path(__file__).parents[2]
POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")

OWNER = """
import sys, time
from pathlib import Path
from app.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print(server._process.pid, flush=True)
time.sleep(60)
"""
"""Another process that owns a server, until it is killed."""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A data directory on the disk; durability is what is tested here."""
    made = Path(tempfile.mkdtemp(prefix="oms-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


async def execute(url: str, statement: str) -> object:
    connection = await asyncpg.connect(asyncpg_dsn(url))
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def run(url: str, statement: str) -> object:
    return asyncio.run(execute(url, statement))


def owner(directory: Path) -> tuple[subprocess.Popen[str], int]:
    """A process that owns a ready server, and that server's pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(directory)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def gone(pid: int, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not Path(f"/proc/{pid}").exists()


def test_a_new_directory_becomes_a_durable_database_and_keeps_its_rows(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        assert server.owned
        assert run(server.url(), "create table kept as select 42 as answer") is None
        assert run(server.url(), "show fsync") == "on"
        assert run(server.url(), "show listen_addresses") == ""
        assert run(server.url(), "select lower('ÄÖ') || ' ' || current_setting('timezone')") == "äö UTC"
    with EmbeddedPostgres(directory) as server:
        assert run(server.url(), "select answer from kept") == 42


@pytest.mark.parametrize("name", ["with space", "with,comma", "a" * 100, "ünï"])
def test_the_path_of_the_data_may_be_long_or_odd(directory: Path, name: str) -> None:
    with EmbeddedPostgres(directory / name) as server:
        assert run(server.url(), "select 1") == 1
        socket = server.socket_directory
        assert socket.exists()
    assert directory in socket.parents or not socket.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a user stand where it cannot go")
def test_a_private_directory_of_root_serves_as_well(directory: Path) -> None:
    directory.chmod(0o700)
    with EmbeddedPostgres(directory) as server:
        run(server.url(), "create table kept as select 42 as answer")
    with EmbeddedPostgres(directory) as server:
        assert run(server.url(), "select answer from kept") == 42


def test_a_second_user_of_the_directory_shares_the_running_server_and_does_not_stop_it(
    directory: Path,
) -> None:
    with EmbeddedPostgres(directory) as first:
        with EmbeddedPostgres(directory) as second:
            assert not second.owned
            assert second.url() == first.url()
            assert run(second.url(), "select 1") == 1
        assert first.alive()
        assert run(first.url(), "select 1") == 1


def test_two_that_start_together_make_one_server(directory: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OWNER.replace("server._process.pid", "server.owned"), str(directory)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        answers = sorted(process.stdout.readline().strip() for process in processes if process.stdout)
        assert answers == ["False", "True"]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_kill_9_of_the_owner_leaves_no_server_and_loses_nothing(directory: Path) -> None:
    process, pid = owner(directory)
    server = EmbeddedPostgres(directory)
    server.start()
    run(server.url(), "create table kept as select 42 as answer")
    process.kill()
    process.communicate()
    assert gone(pid)
    assert not server.alive()
    with EmbeddedPostgres(directory) as again:
        assert again.owned
        assert run(again.url(), "select answer from kept") == 42


def test_after_the_server_itself_is_killed_the_next_start_recovers(directory: Path) -> None:
    process, pid = owner(directory)
    server = EmbeddedPostgres(directory)
    server.start()
    run(server.url(), "create table kept as select 42 as answer")
    os.kill(pid, signal.SIGKILL)
    process.kill()
    process.communicate()
    assert gone(pid)
    assert (directory / "pgdata" / "postmaster.pid").exists()
    with EmbeddedPostgres(directory) as again:
        assert run(again.url(), "select answer from kept") == 42
        assert "database system was not properly shut down" in again.log_path.read_text()


def test_a_stale_pid_file_that_names_a_living_stranger_does_not_confuse(directory: Path) -> None:
    with EmbeddedPostgres(directory):
        lines = (directory / "pgdata" / "postmaster.pid").read_text().splitlines()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        lines[0] = str(stranger.pid)
        (directory / "pgdata" / "postmaster.pid").write_text("\n".join(lines) + "\n")
        with EmbeddedPostgres(directory) as server:
            assert server.owned
            assert run(server.url(), "select 1") == 1
    finally:
        stranger.kill()
        stranger.wait()


def test_an_interrupted_first_start_is_begun_anew(directory: Path) -> None:
    half_made = directory / "pgdata.1"
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(directory) as server:
        assert run(server.url(), "select 1") == 1
    assert not half_made.exists()


async def test_a_supervised_server_is_started_again_when_it_dies(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        await execute(server.url(), "create table kept as select 42 as answer")
        supervisor = asyncio.create_task(server.supervise())
        first = server._process
        assert first is not None
        first.kill()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            if server._process not in {None, first} and server.alive():
                break
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await execute(server.url(), "select answer from kept") == 42
                    break
                except (OSError, asyncpg.PostgresError):
                    await asyncio.sleep(0.05)
        supervisor.cancel()


@pytest.mark.skipif(not POSTGRES_15.exists(), reason="PostgreSQL 15 is not installed here")
def test_data_of_another_release_is_refused_with_the_way_to_move_it(directory: Path) -> None:
    with EmbeddedPostgres(directory, binary_directory=POSTGRES_15) as old:
        assert run(old.url(), "select lower('ÄÖ')") == "äö"
        assert run(old.url(), "select current_setting('server_version_num')::int / 10000") == 15
    new = EmbeddedPostgres(directory)
    major = server_version(new.binaries).major
    with pytest.raises(PostgresError) as refusal:
        new.start()
    sentence = str(refusal.value)
    assert f"is of PostgreSQL 15 and this is PostgreSQL {major}" in sentence
    assert "OMS_POSTGRES_BIN=/usr/lib/postgresql/15/bin oms backup" in sentence
    assert "oms restore" in sentence
    with EmbeddedPostgres(directory, binary_directory=POSTGRES_15) as old:
        assert run(old.url(), "select 1") == 1


def test_a_server_that_cannot_start_says_why(directory: Path) -> None:
    with EmbeddedPostgres(directory):
        pass
    broken = EmbeddedPostgres(directory, settings={"shared_buffers": "nonsense"})
    with pytest.raises(PostgresError, match="invalid value for parameter"):
        broken.start()


def test_a_directory_without_binaries_is_refused(directory: Path) -> None:
    with pytest.raises(PostgresError, match="holds no postgres"):
        EmbeddedPostgres(directory, binary_directory=directory).start()
