"""The protocol `graphql-transport-ws`, message by message, on a real server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from websockets.asyncio.client import connect

from app.auth import Authenticator, Caller, staff
from app.live.live import Live
from tests.live.clients import Client, token, until


async def test_a_query_is_answered_and_completed_over_the_socket(served: str) -> None:
    async with Client.to(served) as client:
        await client.subscribe("1", "{ account }")
        assert await client.hear() == {
            "id": "1",
            "type": "next",
            "payload": {"data": {"account": "staff:development"}},
        }
        assert await client.hear() == {"id": "1", "type": "complete"}


async def test_a_bad_operation_ends_alone(served: str) -> None:
    async with Client.to(served) as client:
        await client.subscribe("live", "subscription { orderEvents }")
        for number, query in enumerate(["{ account", "{ nothing }", "subscription { nothing }"]):
            await client.subscribe(f"bad{number}", query)
            message = await client.hear(f"bad{number}")
            assert message["type"] == "error"
            assert isinstance(message["payload"][0]["message"], str)
        await client.subscribe("good", "{ account }")
        assert (await client.hear("good"))["type"] == "next"


@pytest.mark.parametrize(
    "message",
    [
        "not json",
        "[]",
        "1",
        '"subscribe"',
        '{"type":"unknown"}',
        '{"type":1}',
        '{"type":"subscribe"}',
        '{"type":"subscribe","id":"1"}',
        '{"type":"subscribe","id":1,"payload":{"query":"{ account }"}}',
        '{"type":"subscribe","id":"","payload":{"query":"{ account }"}}',
        '{"type":"subscribe","id":"1","payload":{"query":1}}',
        '{"type":"subscribe","id":"1","payload":{"query":"{ account }","variables":[]}}',
        '{"type":"subscribe","id":"1","payload":{"query":"{ account }","operationName":1}}',
        '{"type":"complete"}',
        "[" * 20_000,
        '{"type":"ping","payload":NaN}',
        b"\x00\x01",
    ],
)
async def test_a_message_that_breaks_the_protocol_closes_the_socket_with_4400(
    served: str, message: str | bytes
) -> None:
    async with Client.to(served) as client:
        await client.say(message)
        assert (await client.closed())[0] == 4400


async def test_a_subscription_before_the_acknowledgement_closes_with_4401(served: str) -> None:
    async with Client.to(served, init=False) as client:
        await client.subscribe("1", "{ account }")
        assert await client.closed() == (4401, "Unauthorized")


@pytest.mark.parametrize("payload", [None, {}, {"authorization": "Bearer no"}, {"token": "no"}])
async def test_credentials_that_are_missing_or_wrong_close_with_4403(served: str, payload: Any) -> None:
    async with Client.to(served, init=False) as client:
        await client.say({"type": "connection_init", "payload": payload})
        assert (await client.closed())[0] == 4403


async def test_the_token_may_come_in_the_payload_or_in_the_header(served: str) -> None:
    async with Client.to(served, init=False) as client:
        await client.init({"token": token()})
    async with connect(
        f"ws://{served}/graphql",
        subprotocols=["graphql-transport-ws"],
        additional_headers={"authorization": f"Bearer {token()}"},
    ) as connection:
        await Client(connection).init()


async def test_an_expiring_token_closes_the_socket_with_4403(served: str) -> None:
    async with Client.to(served, init=False) as client:
        await client.init({"token": token(lifetime_seconds=2)})
        await client.subscribe("1", "subscription { orderEvents }")
        assert await client.closed(within=5) == (4403, "Forbidden: the token has expired")


async def test_another_subprotocol_closes_with_4406(served: str) -> None:
    async with connect(f"ws://{served}/graphql", subprotocols=["graphql-ws"]) as connection:
        assert await Client(connection).closed() == (4406, "Subprotocol not acceptable")


async def test_a_client_that_does_not_initialise_is_closed_with_4408(served: str, live: Live) -> None:
    live.hub.bounds = replace(live.hub.bounds, init_seconds=0.2)
    async with Client.to(served, init=False) as client:
        assert await client.closed() == (4408, "Connection initialisation timeout")


async def test_an_id_that_is_in_use_closes_with_4409(served: str) -> None:
    async with Client.to(served) as client:
        await client.subscribe("a", "subscription { orderEvents }")
        await client.subscribe("a", "{ account }")
        assert await client.closed() == (4409, "Subscriber for a already exists")


async def test_a_second_initialisation_closes_with_4429(served: str) -> None:
    async with Client.to(served) as client:
        await client.say({"type": "connection_init", "payload": {"token": token()}})
        assert await client.closed() == (4429, "Too many initialisation requests")


async def test_pings_are_answered_before_and_after_the_initialisation(served: str) -> None:
    async with Client.to(served, init=False) as client:
        await client.say({"type": "ping"})
        assert await client.hear() == {"type": "pong"}
        await client.say({"type": "pong"})
        await client.init({"token": token()})
        await client.say({"type": "ping", "payload": {"a": 1}})
        assert await client.hear() == {"type": "pong", "payload": {"a": 1}}


async def test_a_completed_id_may_be_used_again(served: str, live: Live) -> None:
    async with Client.to(served) as client:
        for _ in range(3):
            await client.subscribe("a", "subscription { orderEvents }")
            await client.subscribe("probe", "{ account }")
            assert (await client.hear("probe"))["type"] == "next"
            assert (await client.hear("probe"))["type"] == "complete"
            assert len(live.hub.subscribers) == 1
            await client.say({"id": "a", "type": "complete"})
        await client.say({"type": "ping"})
        assert await client.hear() == {"type": "pong"}
        assert not live.hub.subscribers


async def test_the_twenty_first_operation_is_refused_and_the_others_go_on(served: str, live: Live) -> None:
    async with Client.to(served) as client:
        for number in range(21):
            await client.subscribe(str(number), "subscription { orderEvents }")
        message = await client.hear()
        assert (message["id"], message["type"]) == ("20", "error")
        assert message["payload"][0]["extensions"] == {"code": "TOO_MANY_OPERATIONS"}
        assert len(live.hub.subscribers) == 20


async def test_a_message_beyond_64_kib_closes_with_1009(served: str) -> None:
    async with Client.to(served) as client:
        await client.say({"type": "ping", "payload": {"a": "b" * 70_000}})
        assert (await client.closed())[0] == 1009


async def test_a_client_that_leaves_leaves_nothing_behind(served: str, live: Live) -> None:
    async with Client.to(served) as client:
        await client.subscribe("1", "subscription { orderEvents }")
        await client.subscribe("2", "subscription { orderEvents(type: ORDER_PLACED) }")
        await client.say({"type": "ping"})
        assert await client.hear() == {"type": "pong"}
        assert len(live.hub.subscribers) == 2
        client.connection.transport.abort()
    await until(lambda: not live.connections and not live.hub.subscribers)
    assert not live.hub.audiences._by_place
    assert not live.hub.audiences._renderings
    assert len(live.hub.audiences) == 0


async def test_a_server_that_goes_away_closes_its_sockets_with_1001_and_takes_no_new_ones(
    served: str, live: Live
) -> None:
    async with Client.to(served) as first, Client.to(served) as second:
        await first.subscribe("1", "subscription { orderEvents }")
        draining = asyncio.create_task(live.drain(0.2))
        assert (await first.closed())[0] == 1001
        assert (await second.closed())[0] == 1001
        await draining
    with pytest.raises(Exception, match="403"):
        async with Client.to(served):
            pass


async def test_a_socket_too_many_is_closed_and_those_that_are_open_stay(served: str, live: Live) -> None:
    live.hub.bounds = replace(live.hub.bounds, connections=1)
    async with Client.to(served) as client:
        with pytest.raises(Exception, match="403"):
            async with Client.to(served):
                pass
        await client.subscribe("1", "{ account }")
        assert (await client.hear("1"))["type"] == "next"
    await until(lambda: not live.connections)
    async with Client.to(served):
        pass


async def test_credentials_that_were_revoked_close_the_socket_with_4403_and_the_others_stay(
    served: str, live: Live, authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def still_valid(caller: Caller) -> bool:
        return caller.principal.account != "staff:gone"

    monkeypatch.setattr(authenticator, "still_valid", still_valid)
    async with Client.to(served, staff("staff:gone")) as gone, Client.to(served) as stays:
        assert await live.close_revoked() == 1
        assert await gone.closed() == (4403, "Forbidden: the credentials have been revoked")
        await stays.subscribe("1", "{ account }")
        assert (await stays.hear("1"))["type"] == "next"
