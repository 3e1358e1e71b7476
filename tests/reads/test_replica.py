"""Reads from a streaming replica, and callers that read what they have just written."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from app import auth
from app.cli.database import bring_to_head
from app.postgres import EmbeddedPostgres
from app.postgres_tools import account_for, as_account
from db.engine import asyncpg_dsn
from tests.conftest import FAST
from tests.serving import Api, served

pytestmark = pytest.mark.slow

CREATE = """
mutation ($code: String!) {
  locationUpsert(input: {code: $code, name: "Replicated", kind: WAREHOUSE}) {
    location { id } userErrors { message }
  }
}
"""
READ = "query ($id: ID!) { location(id: $id) { code } }"
CONSISTENCY = "x-oms-consistency"


@dataclass(frozen=True, slots=True)
class Pair:
    primary: EmbeddedPostgres
    replica: EmbeddedPostgres

    async def on_replica(self, statement: str) -> object:
        connection = await asyncpg.connect(asyncpg_dsn(self.replica.url()))
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A migrated primary and a replica that streams from it."""
    directory = Path(tempfile.mkdtemp(prefix="oms-replica-"))
    directory.chmod(0o755)
    settings = {**FAST, "wal_level": "replica", "max_wal_senders": "4", "hot_standby": "on"}
    try:
        with EmbeddedPostgres(directory / "primary", settings=settings) as primary:
            bring_to_head(primary.url())
            _copy(primary, directory / "replica")
            with EmbeddedPostgres(directory / "replica", settings=settings) as replica:
                yield Pair(primary, replica)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _copy(primary: EmbeddedPostgres, directory: Path) -> None:
    account = account_for(primary.cluster)
    directory.mkdir()
    if account is not None:
        os.chown(directory, account.uid, account.gid)
    done = subprocess.run(
        [
            primary.binaries / "pg_basebackup", "--host", primary.socket_directory, "--username", "oms",
            "--pgdata", directory / "pgdata", "--write-recovery-conf", "--checkpoint=fast",
        ],
        capture_output=True, text=True, timeout=120, check=False, cwd=directory, **as_account(account),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture
async def api(pair: Pair) -> AsyncIterator[Api]:
    read_url = SecretStr(pair.replica.url())
    async with served(pair.primary.url(), workers=False, database_read_url=read_url) as running:
        yield running


async def post(
    api: Api, query: str, position: str | None = None, **variables: str
) -> tuple[dict[str, Any], str | None]:
    headers = {"authorization": f"Bearer {api.token(auth.staff())}"}
    if position is not None:
        headers[CONSISTENCY] = position
    response = await api.http.post("/graphql", json={"query": query, "variables": variables}, headers=headers)
    return response.json(), response.headers.get(CONSISTENCY)


async def create(api: Api) -> tuple[str, str]:
    answer, position = await post(api, CREATE, code=f"R-{uuid4().hex[:8]}")
    assert position is not None, answer
    return answer["data"]["locationUpsert"]["location"]["id"], position


async def test_a_caller_that_sends_its_position_reads_its_own_write_every_time(pair: Pair, api: Api) -> None:
    assert await pair.on_replica("select pg_is_in_recovery()") is True
    for _ in range(30):
        created, position = await create(api)
        answer, nothing = await post(api, READ, position, id=created)
        assert answer["data"]["location"] is not None
        assert nothing is None  # a query wrote nothing


async def test_queries_without_a_position_are_answered_by_the_replica(pair: Pair, api: Api) -> None:
    created, position = await create(api)
    assert (await post(api, READ, position, id=created))[0]["data"]["location"] is not None
    await pair.on_replica("select pg_wal_replay_pause()")
    try:
        later, _ = await create(api)
        assert (await post(api, READ, id=created))[0]["data"]["location"] is not None
        assert (await post(api, READ, id=later))[0]["data"]["location"] is None
    finally:
        await pair.on_replica("select pg_wal_replay_resume()")


async def test_the_primary_answers_for_a_replica_that_is_behind(pair: Pair, api: Api) -> None:
    await pair.on_replica("select pg_wal_replay_pause()")
    try:
        created, position = await create(api)
        assert (await post(api, READ, position, id=created))[0]["data"]["location"] is not None
    finally:
        await pair.on_replica("select pg_wal_replay_resume()")


async def test_a_position_that_is_none_is_refused(api: Api) -> None:
    headers = {"authorization": f"Bearer {api.token(auth.staff())}", CONSISTENCY: "0/1; select"}
    response = await api.http.post("/graphql", json={"query": "{ __typename }"}, headers=headers)
    assert response.status_code == 400
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


async def test_queries_are_answered_by_the_primary_while_the_replica_is_gone(pair: Pair, api: Api) -> None:
    created, position = await create(api)
    pair.replica.stop()
    try:
        assert (await post(api, READ, position, id=created))[0]["data"]["location"] is not None
        assert (await post(api, READ, id=created))[0]["data"]["location"] is not None
    finally:
        pair.replica.start()
