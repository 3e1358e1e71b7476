"""Backup and restore with PostgreSQL's own programs, in its custom format."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import asyncpg
from sqlalchemy.engine import make_url

from app.postgres_tools import SYSTEM, PostgresError, binaries, server_version
from db.engine import asyncpg_dsn

NEW_EPOCH = "update public.relay set epoch = gen_random_uuid()"
"""Cursors given before the backup was restored may name events that never happened now: they end here."""

EMPTY = """set client_min_messages = warning;
begin;
do $$
declare name text;
begin
    for name in select nspname from pg_namespace where nspname !~ '^(pg_|information_schema$)' loop
        execute format('drop schema %I cascade', name);
    end loop;
end $$;
create schema public;
"""
"""Begins the one transaction of a restore: our tables, the job queue's, whatever else there is."""


def back_up(url: str, file: Path, *, binary_directory: Path | None) -> None:
    """Write the whole database, as of one moment, to `file`; nobody has to stop working meanwhile.

    The file appears when it is complete, never before.
    """
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    target, environment = _connection(url)
    command = [
        str(program("pg_dump", asyncio.run(_server_major(url)), binary_directory)),
        "--format=custom",
        "--no-owner",
        "--no-privileges",
        f"--file={unfinished}",
        f"--dbname={target}",
    ]
    try:
        done = subprocess.run(command, capture_output=True, env=environment, check=False)  # noqa: S603
        if done.returncode != 0:
            raise PostgresError(f"The backup failed: {done.stderr.decode(errors='replace').strip()}")
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def restore(url: str, file: Path, *, replace: bool, binary_directory: Path | None) -> None:
    """Put a backup into the database: all of it or, when anything fails, nothing.

    Raises PostgresError when the database holds tables and `replace` is not set. With it,
    what the database held is gone once this returns.
    """
    if not file.is_file():
        raise PostgresError(f"{file} is not a file: name one that `oms backup` has written.")
    if not replace and asyncio.run(_holds_tables(url)):
        raise PostgresError(
            "The database is not empty, and a restore would replace all of it: name an empty one, "
            "or repeat with --force."
        )
    major = asyncio.run(_server_major(url))
    with tempfile.TemporaryFile() as said_by_reader, tempfile.TemporaryFile() as said_by_writer:
        reader = subprocess.Popen(  # noqa: S603 - PostgreSQL's own program
            [
                program("pg_restore", major, binary_directory),
                "--no-owner",
                "--no-privileges",
                "--file=-",
                file,
            ],
            stdout=subprocess.PIPE,
            stderr=said_by_reader,
        )
        target, environment = _connection(url)
        writer = subprocess.Popen(  # noqa: S603 - PostgreSQL's own program
            [program("psql", major, binary_directory), "--no-psqlrc", "--quiet", "--output=/dev/null",
             "--set=ON_ERROR_STOP=1", "--file=-", f"--dbname={target}"],
            stdin=subprocess.PIPE,
            stderr=said_by_writer,
            env=environment,
        )  # fmt: skip
        if reader.stdout is None or writer.stdin is None:
            raise RuntimeError("both were opened with pipes")
        # A writer that ended early says why itself. Whatever ends before COMMIT is rolled back.
        with contextlib.suppress(BrokenPipeError), writer.stdin as script:
            script.write(EMPTY.encode())
            shutil.copyfileobj(reader.stdout, script)
            if reader.wait() == 0:
                script.write(f"{NEW_EPOCH};\ncommit;\n".encode())
        reader.stdout.close()
        for process, said in ((reader, said_by_reader), (writer, said_by_writer)):
            if process.wait() != 0:
                said.seek(0)
                reason = said.read().decode(errors="replace").strip()
                raise PostgresError(f"The restore failed and changed nothing: {reason}")


def program(name: str, major: int, binary_directory: Path | None) -> Path:
    """One of PostgreSQL's programs, of the server's release or the next newer one that is here."""
    candidates = [SYSTEM / str(release) / "bin" for release in range(major, major + 5)]
    if binary_directory is not None:
        candidates = [binary_directory]
    else:
        packaged = binaries()
        release = server_version(packaged).major
        if release >= major:
            candidates.insert(release - major + (release > major), packaged)
        if found := shutil.which(name):
            candidates.append(Path(found).parent)
    for directory in candidates:
        if (directory / name).exists() and _major(directory / name) >= major:
            return directory / name
    raise PostgresError(
        f"There is no {name} of PostgreSQL {major} here: install the package postgresql-client-{major}, "
        "or name its directory in OMS_POSTGRES_BIN."
    )


def _major(path: Path) -> int:
    answer = subprocess.run([path, "--version"], check=True, capture_output=True, text=True)  # noqa: S603
    found = re.search(r"\d+", answer.stdout)
    return int(found[0]) if found else 0


def _connection(url: str) -> tuple[str, dict[str, str]]:
    """How PostgreSQL's programs are told where to connect.

    A password travels in the environment, which other users of the machine cannot read.
    """
    address = make_url(asyncpg_dsn(url))
    environment = dict(os.environ)
    if address.password is not None:
        environment["PGPASSWORD"] = str(address.password)
    return address.set(password=None).render_as_string(hide_password=False), environment


async def _server_major(url: str) -> int:
    connection = await asyncpg.connect(asyncpg_dsn(url))
    try:
        return int(connection.get_server_version().major)
    finally:
        await connection.close()


async def _holds_tables(url: str) -> bool:
    connection = await asyncpg.connect(asyncpg_dsn(url))
    try:
        return bool(
            await connection.fetchval(
                "select exists(select from pg_tables where schemaname !~ '^(pg_|information_schema$)')"
            )
        )
    finally:
        await connection.close()
