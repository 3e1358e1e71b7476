"""Sequences of messages against a model of `graphql-transport-ws`: an answer, or the protocol's close code exactly.

https://github.com/graphql/graphql-over-http/blob/main/rfcs/GraphQLOverWebSocket.md
`OMS_TEST_SEED` gives other sequences, `OMS_TEST_EXAMPLES` more of them.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from bench.documents import HOSTILE
from tests.security.conftest import Shop, Target
from tests.security.test_hostile import SEED
from tests.security.values import arguments, operation, spoilt

SEED = int(os.environ.get("OMS_TEST_SEED", SEED))
EXAMPLES = int(os.environ.get("OMS_TEST_EXAMPLES", "60"))
FUZZED = settings(
    max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")
PROTOCOL = {4400, 4401, 4403, 4409, 4429}
GOOD, ENDLESS = "{ __typename }", "subscription { orderEvents { cursor } }"
BAD = ["{", "{ nothing }", "subscription { nothing }", HOSTILE["deep"], HOSTILE["a cycle of fragments"]]

MISTYPED: list[Any] = [
    "", "{", "null", "[]", "7", '"subscribe"', "{}", '{"type":null}', '{"type":7}', '{"type":["ping"]}',
    '{"type":"start"}',
    '{"type":"PING"}', '{"type":"next","id":"a","payload":{}}', '{"type":"error","id":"a","payload":[]}',
    '{"type":"connection_ack"}', '{"type":"complete"}', '{"type":"complete","id":7}', '{"type":"complete","id":""}',
    '{"type":"ping","payload":7}', '{"type":"ping","payload":"a"}', '{"type":"pong","payload":[]}',
    '{"type":"connection_init","payload":7}', '{"type":"connection_init","payload":[]}',
    '{"type":"subscribe"}', '{"type":"subscribe","id":7,"payload":{"query":"{a}"}}',
    '{"type":"subscribe","id":null,"payload":{"query":"{a}"}}',
    '{"type":"subscribe","id":"","payload":{"query":"{a}"}}',
    '{"type":"ping","payload":{"a":"\\ud800"}}', '{"type":"ping","payload":{"a":NaN}}', '{"type":"ping"} {}',
    "[" * 20_000,
    b"", b"\x00", b'{"type":"ping"}',
]  # fmt: skip
"""Closed with 4400, whenever they come."""

UNPAYABLE: list[Any] = [
    None, 7, [], "{ __typename }", {}, {"query": None}, {"query": 7}, {"query": GOOD, "variables": []},
    {"query": GOOD, "variables": "{}"}, {"query": GOOD, "operationName": 7}, {"query": GOOD, "extensions": "a"},
]  # fmt: skip
"""What no operation is; 4400, of a client that may ask at all."""

ids = st.sampled_from(["a", "b", "ü" * 128])
steps = st.one_of(
    st.tuples(st.just("raw"), st.sampled_from(MISTYPED)),
    st.tuples(st.just("init"), st.sampled_from(["right", "right", "wrong", "missing"])),
    st.tuples(st.just("good"), ids),
    st.tuples(st.just("endless"), ids),
    st.tuples(st.just("bad"), ids, st.sampled_from(BAD)),
    st.tuples(st.just("unpayable"), ids, st.sampled_from(UNPAYABLE)),
    st.tuples(st.just("complete"), ids),
    st.tuples(st.just("ping"), st.sampled_from([None, {}, {"a": "😀"}])),
    st.just(("pong",)),
    st.just(("big",)),
)
sequences = st.lists(steps, max_size=8) | st.lists(steps, max_size=12).map(
    lambda later: [("init", "right"), *later]
)


@dataclass
class Model:
    """What the protocol makes of each message."""

    init: bool = False
    acknowledged: bool = False
    running: set[str] = field(default_factory=set)

    def code(self, step: tuple[Any, ...]) -> int | None:  # noqa: PLR0911 - one a rule
        """The code the socket must be closed with; None when it stays open."""
        kind, *rest = step
        if kind == "raw":
            return 4400
        if kind == "big":
            return 1009
        if kind == "init":
            if self.init:
                return 4429
            self.init = True
            self.acknowledged = rest[0] == "right"
            return None if self.acknowledged else 4403
        if kind in ("complete", "ping", "pong"):
            self.running -= {rest[0]} if kind == "complete" else set()
            return None
        if not self.acknowledged:
            return 4401
        if rest[0] in self.running:
            return 4409
        if kind == "unpayable":
            return 4400
        if kind == "endless":
            self.running.add(rest[0])
        return None


class Talk:
    """A client on one socket, which passes over what running subscriptions are told."""

    def __init__(self, socket: ClientConnection, authorization: str, model: Model) -> None:
        self._socket = socket
        self._authorization = authorization
        self._model = model

    def say(self, step: tuple[Any, ...]) -> None:
        self._socket.send(self._message(step))

    def answered(self, step: tuple[Any, ...]) -> None:
        """The answer that a step must have, if it has one, has come."""
        kind, *rest = step
        match kind:
            case "init":
                assert self.hear()["type"] == "connection_ack"
            case "ping":
                assert self.hear() == {"type": "pong"} | ({} if rest[0] is None else {"payload": rest[0]})
            case "good":
                told = self.hear(), self.hear()
                assert told[0]["payload"]["data"] == {"__typename": "Query"}
                assert [(each["id"], each["type"]) for each in told] == [
                    (rest[0], "next"),
                    (rest[0], "complete"),
                ]
            case "bad":
                told_error = self.hear()
                assert (told_error["id"], told_error["type"]) == (rest[0], "error")
                assert told_error["payload"][0]["message"]

    def hear(self) -> dict[str, Any]:
        while True:
            message: dict[str, Any] = json.loads(self._socket.recv(timeout=10))
            if message["type"] != "next" or message["id"] not in self._model.running:
                return message

    def closed(self) -> int:
        """The code the server closes with, whatever it tells before."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                self._socket.recv(timeout=10)
        code = self._socket.close_code
        assert code is not None
        return code

    def _message(self, step: tuple[Any, ...]) -> str | bytes:
        kind, *rest = step
        message: dict[str, Any] = {"type": kind}
        match kind:
            case "raw":
                raw: str | bytes = rest[0]
                return raw
            case "big":
                message = {"type": "ping", "payload": {"a": "b" * 70_000}}
            case "init":
                message["type"] = "connection_init"
                if rest[0] != "missing":
                    message["payload"] = {"authorization": self._authorization + "x" * (rest[0] == "wrong")}
            case "ping":
                if rest[0] is not None:
                    message["payload"] = rest[0]
            case "complete":
                message["id"] = rest[0]
            case "good" | "endless" | "bad" | "unpayable":
                query = {"good": GOOD, "endless": ENDLESS}.get(kind) or rest[-1]
                payload = query if kind == "unpayable" else {"query": query}
                message = {"type": "subscribe", "id": rest[0], "payload": payload}
        return json.dumps(message)


def opened(target: Target) -> Any:
    return connect(
        f"{target.base.replace('http', 'ws', 1)}/graphql", subprotocols=[Subprotocol("graphql-transport-ws")],
        compression=None,
    )  # fmt: skip


def test_each_sequence_of_messages_has_the_end_that_the_protocol_gives_it(quiet: Target, shop: Shop) -> None:
    authorization = quiet.headers(shop.callers["staff"])["authorization"]

    @seed(SEED)
    @FUZZED
    @given(sequences)
    def holds(sequence: list[tuple[Any, ...]]) -> None:
        model = Model()
        with opened(quiet) as socket:
            talk = Talk(socket, authorization, model)
            for step in sequence:
                code = model.code(step)
                talk.say(step)
                if code is not None:
                    assert talk.closed() == code
                    return
                talk.answered(step)
            talk.say(("ping", None))
            talk.answered(("ping", None))

    holds()


def test_a_message_with_something_wrong_in_it_is_answered_or_closes_with_a_code(
    quiet: Target, shop: Shop
) -> None:
    authorization = quiet.headers(shop.callers["staff"])["authorization"]
    right = st.fixed_dictionaries(
        {"type": st.sampled_from(["subscribe", "complete", "ping", "pong", "connection_init"])},
        optional={
            "id": ids,
            "payload": st.fixed_dictionaries(
                {"query": st.sampled_from([GOOD, ENDLESS, *BAD])},
                optional={
                    "variables": st.just({"a": 1}),
                    "operationName": st.just("A"),
                    "extensions": st.just({"a": 1}),
                },
            ),
        },
    )  # fmt: skip

    @seed(SEED)
    @FUZZED
    @given(st.lists(spoilt(right), min_size=1, max_size=4), st.booleans())
    def holds(messages: list[Any], escaped: bool) -> None:
        with opened(quiet) as socket:
            talk = Talk(socket, authorization, Model())
            talk.say(("init", "right"))
            talk.answered(("init", "right"))
            with contextlib.suppress(ConnectionClosed):
                for message in messages:
                    text = json.dumps(message, ensure_ascii=escaped)
                    socket.send(text.encode("utf-8", "surrogatepass"), text=True)
                socket.send('{"type":"ping","payload":{"last":1}}')
                while json.loads(socket.recv(timeout=10)) != {"type": "pong", "payload": {"last": 1}}:
                    pass
                return
            # 1007: a surrogate that is not escaped is no UTF-8, so no text; 1009: beyond 64 KiB
            assert talk.closed() in PROTOCOL | {1007, 1009}

    holds()


def is_json(text: str) -> bool:
    """Python writes and reads what is none: infinity, halves of surrogate pairs."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def test_no_argument_of_a_subscription_harms(quiet: Target, shop: Shop) -> None:
    """It starts, or is refused alone with a code of ours; the socket stays."""
    authorization = quiet.headers(shop.callers["staff"])["authorization"]
    subscriptions = shop.planner.catalog.schema.subscription_type
    assert subscriptions is not None

    def attack(name: str) -> None:
        root = subscriptions.fields[name]

        @seed(SEED)
        @settings(FUZZED, max_examples=EXAMPLES // 4)
        @given(arguments(shop, name, root))
        def holds(variables: dict[str, Any]) -> None:
            payload = {"query": operation("subscription", name, root), "variables": variables}
            text = json.dumps({"type": "subscribe", "id": "a", "payload": payload})
            with opened(quiet) as socket:
                talk = Talk(socket, authorization, Model())
                talk.say(("init", "right"))
                talk.answered(("init", "right"))
                socket.send(text)
                if len(text) > 65_536 or not is_json(text):
                    assert talk.closed() == (1009 if len(text) > 65_536 else 4400)
                    return
                talk.say(("good", "b"))
                told = []
                while not told or told[-1] != {"id": "b", "type": "complete"}:
                    told.append(json.loads(socket.recv(timeout=10)))
                for message in told:
                    if message["type"] == "error":
                        assert message["id"] == "a"
                        assert "INTERNAL" not in json.dumps(message["payload"])

        holds()

    for name in subscriptions.fields:
        attack(name)
