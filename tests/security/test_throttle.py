"""Rate limits: points for what is asked, of each caller apart, shared between servers where there is Redis."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from app.throttle import RedisBuckets, Throttle, Throttled
from tests.access.sockets import opened
from tests.serving import Api, served
from tests.world import STAFF

OTHER = replace(STAFF, account="staff:other")
QUERY = "{ channels(first: 50) { nodes { id code name } } }"


async def asked(api: Api, caller: Any = STAFF, query: str = QUERY) -> Any:
    return await api.http.post(
        "/graphql", json={"query": query}, headers={"authorization": f"Bearer {api.token(caller)}"}
    )


async def test_an_answer_tells_what_is_left_and_what_is_too_much_is_429(database_url: str) -> None:
    async with served(database_url, workers=False, throttle_points=500, throttle_restore=1) as api:
        first = (await asked(api)).json()["extensions"]["cost"]
        cost = first["requested"]
        assert first["throttleStatus"] == {
            "maximumAvailable": 500, "currentlyAvailable": 500 - cost, "restoreRate": 1,
        }  # fmt: skip
        for _ in range(500 // cost):
            refused = await asked(api)
        assert refused.status_code == 429
        error = refused.json()["errors"][0]["extensions"]
        assert error["code"] == "THROTTLED"
        assert int(refused.headers["retry-after"]) == error["retryAfterSeconds"] >= 1
        assert "data" not in refused.json()
        assert (await asked(api, OTHER)).status_code == 200, "each caller has a bucket of its own"


async def test_documents_that_are_not_valid_are_paid_for_too(database_url: str) -> None:
    async with served(database_url, workers=False, throttle_points=500, throttle_restore=1) as api:
        for _ in range(20):
            assert (await asked(api, query="{ nonsense }")).status_code == 400
        assert (await asked(api)).status_code == 429


async def test_mutations_are_refused_before_they_do_anything(database_url: str, engine: Any) -> None:
    async with served(database_url, workers=False, throttle_points=30, throttle_restore=1) as api:
        upsert = 'mutation { customerUpsert(input: {name: "A"}, idempotencyKey: "%s") { customer { id } } }'
        answers = [await asked(api, query=upsert % number) for number in range(10)]
        assert [answer.status_code for answer in answers[-3:]] == [429, 429, 429]
        done = sum(answer.status_code == 200 for answer in answers)
        total = (await asked(api, OTHER, "{ customers { totalCount } }")).json()
        assert total["data"]["customers"]["totalCount"] == done > 0


async def test_on_a_socket_an_operation_is_refused_and_the_socket_stays(database_url: str) -> None:
    async with (
        served(database_url, workers=False, throttle_points=150, throttle_restore=1) as api,
        opened(api, api.token(STAFF)) as socket,
    ):
        for number in range(3):
            await socket.send(
                {
                    "type": "subscribe",
                    "id": str(number),
                    "payload": {"query": "subscription { orderEvents { type } }"},
                }
            )
        refused = await socket.receive()
        assert (refused["type"], refused["payload"][0]["extensions"]["code"]) == ("error", "THROTTLED")
        await asyncio.sleep(0.1)
        assert socket.is_open


async def test_in_development_nothing_is_bound_unless_it_is_asked_for(database_url: str) -> None:
    async with served(database_url, workers=False) as api:
        assert "throttleStatus" not in (await asked(api)).json()["extensions"]["cost"]


async def test_points_come_back_with_time_and_never_more_than_the_bucket_holds() -> None:
    throttle = Throttle(100, 1_000)
    await throttle.charge(STAFF, 100)
    with pytest.raises(Throttled) as caught:
        await throttle.charge(STAFF, 100)
    assert caught.value.retry_after == 1
    await asyncio.sleep(0.3)
    await throttle.charge(STAFF, 100)
    assert '"currentlyAvailable":0' in await Throttle(100, 1).charge(STAFF, 10_000), (
        "more than a bucket holds"
    )


@contextlib.asynccontextmanager
async def running_redis() -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not here")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        program, "--port", str(port), "--save", "", "--bind", "127.0.0.1", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    while b"Ready to accept" not in await process.stdout.readline():
        pass
    try:
        yield f"redis://127.0.0.1:{port}", process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_servers_share_what_a_caller_has_spent_and_count_alone_without_redis() -> None:
    pytest.importorskip("redis")
    async with running_redis() as (url, process):
        one, two = (Throttle(1_000, 1, RedisBuckets(url, 1_000, 1)) for _ in range(2))
        spent = 0
        with contextlib.suppress(Throttled):
            for number in range(100):
                await (one, two)[number % 2].charge(STAFF, 100)
                spent += 100
        assert 900 <= spent <= 1_000
        process.kill()
        await process.wait()
        await two.charge(OTHER, 0)
        with pytest.raises(Throttled):
            await two.charge(STAFF, 1_000)
        await one.close()
        await two.close()
