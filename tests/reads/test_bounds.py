"""What bounds a request as a whole: its time, and the documents that may be executed."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app import auth
from app.settings import SettingsError, load
from db.engine import asyncpg_dsn
from tests.serving import Api, served

CREATE = """
mutation { locationUpsert(input: {code: "L-1", name: "One", kind: WAREHOUSE}) { location { id } } }
"""
ASKED = "{ locations { nodes { code } } }"


async def post(api: Api, body: dict[str, Any]) -> Any:
    headers = {"authorization": f"Bearer {api.token(auth.staff())}"}
    return await api.http.post("/graphql", json=body, headers=headers)


@pytest.mark.parametrize(
    "query", [ASKED, f"{{ a: __typename b: locations {{ totalCount }} {ASKED[1:]}", CREATE]
)
async def test_an_operation_that_waits_for_others_is_given_up_in_time(database_url: str, query: str) -> None:
    other = await asyncpg.connect(asyncpg_dsn(database_url))
    async with served(database_url, workers=False, execution_timeout_seconds=0.5) as api:
        assert "errors" not in (await post(api, {"query": "{ locations { nodes { id } } }"})).json()
        async with other.transaction():
            await other.execute("lock table location in access exclusive mode")
            started = time.monotonic()
            answer = (await post(api, {"query": query})).json()
            assert time.monotonic() - started < 2
        assert {error["extensions"]["code"] for error in answer["errors"]} == {"TIMEOUT"}
        assert "errors" not in (await post(api, {"query": ASKED})).json()
    await other.close()


async def test_with_trusted_documents_nothing_else_is_executed(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "documents.json"
    digest = hashlib.sha256(ASKED.encode()).hexdigest()
    file.write_text(json.dumps({"locations-1": ASKED, digest: ASKED}))
    async with served(database_url, workers=False, trusted_documents=file) as api:
        known = await post(api, {"documentId": "locations-1"})
        assert known.json()["data"] == {"locations": {"nodes": []}}
        persisted = {"persistedQuery": {"version": 1, "sha256Hash": digest}}
        assert (await post(api, {"extensions": persisted})).json()["data"] == known.json()["data"]
        for refused in ({"query": ASKED}, {"documentId": "locations-2"}, {"query": "{ __typename }"}):
            answer = (await post(api, refused)).json()
            assert answer["errors"][0]["extensions"]["code"] == "UNTRUSTED_DOCUMENT"
            assert "data" not in answer


def test_a_file_of_trusted_documents_that_is_not_there_is_said_when_settings_are_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"OMS_TRUSTED_DOCUMENTS names .*, which is no file"):
        load(trusted_documents=tmp_path / "none.json")
