"""The `oms` command as a person or a script meets it: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.auth import Authenticator
from app.development import secret_of
from db.engine import asyncpg_dsn
from db.invariants import invariants
from domain.access import PrincipalKind

OMS = Path(sys.executable).with_name("oms")
Run = Callable[..., subprocess.CompletedProcess[str]]

CHANNEL = """insert into channel (id, code, name, kind, currency, pricing_authority, prices_include_tax,
collected_by, release_gate) values ($1, 'MARKET', 'A market', 'MARKETPLACE', 'EUR', 'OMS', true,
'MERCHANT', 'AUTHORIZED')"""


def environment(**settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OMS_")}
    return kept | {"COLUMNS": "200", "NO_COLOR": "1"} | settings


@pytest.fixture
def oms() -> Run:
    """Runs the command to its end."""

    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [OMS, *arguments],
            capture_output=True,
            text=True,
            env=environment(**settings),
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def directory() -> Iterator[Path]:
    """A data directory."""
    made = Path(tempfile.mkdtemp(prefix="oms-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def execute(url: str, statement: str, *values: object) -> object:
    async def work() -> object:
        connection = await asyncpg.connect(asyncpg_dsn(url))
        try:
            return await connection.fetchval(statement, *values)
        finally:
            await connection.close()

    return asyncio.run(work())


def test_settings_are_shown_with_their_own_values(oms: Run) -> None:
    lines = oms("settings", OMS_COST_LIMIT="1234", OMS_LIVE_DRAIN_SECONDS="3.5").stdout.splitlines()
    assert {
        "OMS_PORT  8000",
        "OMS_COST_LIMIT  1234 points",
        "OMS_LIVE_DRAIN_SECONDS  3.5 seconds",
        "OMS_LIVE_QUEUE_EVENTS  64 events",
        "OMS_DATABASE_URL  not set",
    } <= set(lines)


@pytest.mark.parametrize(
    "command",
    ["up", "serve", "worker", "migrate", "check", "backup", "restore", "token", "demo", "import", "test", "schema",
     "states", "settings"],
)  # fmt: skip
def test_every_command_explains_itself_with_an_example(oms: Run, command: str) -> None:
    shown = oms(command, "--help")
    assert shown.returncode == 0
    assert f"oms {command}" in shown.stdout
    assert "Example" in shown.stdout


def test_migrate_makes_the_tables_and_a_second_one_finds_nothing_to_do(
    oms: Run, empty_database_url: str
) -> None:
    first = oms("migrate", OMS_DATABASE_URL=empty_database_url)
    assert (first.returncode, first.stdout.split(" → ")[0]) == (0, "empty"), first.stderr
    second = oms("migrate", OMS_DATABASE_URL=empty_database_url)
    assert second.stdout.startswith("already at ")
    back = oms("migrate", "--down", "--to", "base", OMS_DATABASE_URL=empty_database_url)
    assert back.stdout.endswith("→ empty\n")


def test_check_prints_each_invariant_with_its_count(oms: Run, database_url: str) -> None:
    sound = oms("check", OMS_DATABASE_URL=database_url)
    assert sound.returncode == 0, sound.stderr
    for invariant in invariants():
        assert any(
            line.startswith(invariant.name) and line.endswith(" 0") for line in sound.stdout.splitlines()
        ), invariant.name


def test_check_fails_and_shows_the_rows_when_an_invariant_is_broken(oms: Run, database_url: str) -> None:
    product, location = uuid4(), uuid4()
    execute(database_url, "insert into product (id, sku, name) values ($1, 'A', 'A')", product)
    execute(
        database_url,
        "insert into location (id, code, name, kind) values ($1, 'B', 'B', 'WAREHOUSE')",
        location,
    )
    execute(
        database_url,
        "insert into stock_level (id, product_id, location_id, sellable) values (gen_random_uuid(), $1, $2, 7)",
        product,
        location,
    )
    broken = oms("check", OMS_DATABASE_URL=database_url)
    assert broken.returncode == 1
    assert any(
        line.startswith("on hand is the sum of movements") and line.endswith(" 1")
        for line in broken.stdout.splitlines()
    )
    assert "name SELLABLE, quantity 7, moved 0" in broken.stderr


def test_a_backup_restores_into_an_empty_database_and_starts_a_new_epoch(
    oms: Run, database_url: str, empty_database_url: str, directory: Path
) -> None:
    channel = uuid4()
    execute(database_url, CHANNEL, channel)
    epoch = execute(database_url, "select epoch from relay")
    file = directory / "a.backup"
    made = oms("backup", str(file), OMS_DATABASE_URL=database_url)
    assert made.returncode == 0, made.stderr
    restored = oms("restore", str(file), OMS_DATABASE_URL=empty_database_url)
    assert (restored.returncode, restored.stdout) == (0, f"restored {file}\n"), restored.stderr
    assert execute(empty_database_url, "select id from channel") == channel
    assert execute(empty_database_url, "select epoch from relay") != epoch
    assert oms("check", OMS_DATABASE_URL=empty_database_url).returncode == 0


def test_a_restore_replaces_a_full_database_only_when_forced(
    oms: Run, database_url: str, directory: Path
) -> None:
    file = directory / "a.backup"
    oms("backup", str(file), OMS_DATABASE_URL=database_url)
    execute(database_url, CHANNEL, uuid4())
    refused = oms("restore", str(file), OMS_DATABASE_URL=database_url)
    assert refused.returncode == 1
    assert "The database is not empty" in refused.stderr
    assert execute(database_url, "select count(*) from channel") == 1
    forced = oms("restore", str(file), "--force", OMS_DATABASE_URL=database_url)
    assert forced.returncode == 0, forced.stderr
    assert execute(database_url, "select count(*) from channel") == 0


def test_a_damaged_backup_changes_nothing(oms: Run, database_url: str, directory: Path) -> None:
    whole, damaged = directory / "whole", directory / "damaged"
    oms("backup", str(whole), OMS_DATABASE_URL=database_url)
    damaged.write_bytes(whole.read_bytes()[: whole.stat().st_size * 9 // 10])
    execute(database_url, CHANNEL, uuid4())
    failed = oms("restore", str(damaged), "--force", OMS_DATABASE_URL=database_url)
    assert failed.returncode == 1
    assert "changed nothing" in failed.stderr
    assert execute(database_url, "select count(*) from channel") == 1


def test_a_token_stands_alone_on_the_last_line_and_names_its_bearer(
    oms: Run, database_url: str, directory: Path
) -> None:
    secret = "s" * 40
    channel = uuid4()
    execute(database_url, CHANNEL, channel)
    staff = oms("token", OMS_DATABASE_URL=database_url, OMS_DEVELOPMENT_SECRET=secret)
    partner = oms(
        "token", "--as", "partner", "--channel", "MARKET",
        OMS_DATABASE_URL=database_url, OMS_DEVELOPMENT_SECRET=secret,
    )  # fmt: skip
    authenticator = Authenticator(secret)
    assert authenticator.authenticate(f"Bearer {staff.stdout.strip()}").kind is PrincipalKind.STAFF
    bearer = authenticator.authenticate(f"Bearer {partner.stdout.splitlines()[-1]}")
    assert (bearer.kind, bearer.channels) == (PrincipalKind.PARTNER, (UUID(str(channel)),))


@pytest.mark.parametrize("role", ["staff", "partner"])
def test_a_token_is_signed_with_the_secret_of_the_data_directory(
    oms: Run, directory: Path, role: str
) -> None:
    migrated = oms("migrate", OMS_DATA_DIR=str(directory))
    assert migrated.returncode == 0, migrated.stderr
    token = oms("token", "--as", role, OMS_DATA_DIR=str(directory))
    assert token.returncode == 0, token.stderr
    bearer = Authenticator(secret_of(directory)).authenticate(f"Bearer {token.stdout.splitlines()[-1]}")
    assert bearer.kind == role.upper()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--as", "guest"], "a guest sees one order: name it with --order, by id or number."),
        (["--as", "guest", "--order", "WEB-1"], "There is no order 'WEB-1' in the database: "
         "name one by number or by id."),
        (["--as", "customer"], "There is no customer in the database yet."),
    ],
)  # fmt: skip
def test_a_token_for_nobody_is_refused_with_a_sentence(
    oms: Run, database_url: str, arguments: list[str], sentence: str
) -> None:
    refused = oms("token", *arguments, OMS_DATABASE_URL=database_url, OMS_DEVELOPMENT_SECRET="s" * 40)
    assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", f"oms: {sentence}\n")


def test_a_wrong_setting_stops_a_command_with_a_sentence(oms: Run) -> None:
    stopped = oms("check", OMS_PORT="no")
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert stopped.stderr == "oms: OMS_PORT is 'no': write a port from 1 to 65535, such as 8000.\n"


def test_a_database_that_does_not_answer_is_named_without_its_password(oms: Run) -> None:
    stopped = oms("check", OMS_DATABASE_URL="postgresql://me:hunter2@127.0.0.1:9/oms")
    assert stopped.returncode == 1
    assert "the database at postgresql://me:***@127.0.0.1:9/oms does not answer" in stopped.stderr
    assert "hunter2" not in stopped.stderr


def test_a_port_in_use_is_said_before_anything_is_started(oms: Run, directory: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        stopped = oms("up", "--port", str(port), "--data", str(directory))
    assert stopped.returncode == 1
    assert (
        f"cannot serve on 127.0.0.1:{port} (address already in use): choose another with --port"
        in stopped.stderr
    )
    assert not (directory / "pgdata").exists()


def test_serving_a_database_that_was_not_migrated_says_what_to_run(oms: Run, empty_database_url: str) -> None:
    stopped = oms("serve", "--port", "18999", OMS_DATABASE_URL=empty_database_url)
    assert stopped.returncode == 1
    assert "run `oms migrate`" in stopped.stderr


def test_two_commands_on_one_data_directory_share_its_database(oms: Run, directory: Path) -> None:
    migrated = oms("migrate", "--data", str(directory))
    assert migrated.returncode == 0, migrated.stderr
    checked = oms("check", OMS_DATA_DIR=str(directory))
    assert checked.returncode == 0, checked.stderr
    assert (directory / "pgdata" / "PG_VERSION").exists()
    assert not (directory / "pgdata" / "postmaster.pid").exists()
