"""Clients that place, cancel, accept, pick, dispatch, return, adjust, reserve and pay.

Each call carries a key and is sent again, to whichever server, until it is answered:
as a partner does who reads the guide.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import httpx2
import orjson
from joserfc import jwt
from joserfc.jwk import OctKey

from app.auth import development_token, staff
from bench.storm.documents import BULK, MUTATIONS, ORDER
from bench.storm.fleet import SECRET
from bench.storm.ledger import Call, Ledger
from bench.storm.lives import steps_of
from bench.storm.shop import HOT, Shop
from domain.ids import split_id

PATIENCE_SECONDS = 60.0
"""How long a call is repeated before its client gives it up."""

ANSWER_SECONDS = 12.0
"""The server gives an operation up after ten."""

AGAIN = frozenset({"BUSY", "IDEMPOTENCY_IN_PROGRESS", "THROTTLED"})
"""Refusals that say: send it again."""

REMEMBERED_ORDERS = 25
MAX_BULK = 5

TOKENS = ("4242424242424242",) * 6 + (
    "4000000000000002",
    "4000000000000341",
    "4000000000000267",
    "4000000000000275",
    "4000000000000234",
)
"""Cards of the sandbox: approved, declined, and those whose answer to a call is lost."""


class GivenUp(Exception):
    """A call was not answered in time; whether it was done is not known."""


def long_made_token(account: str) -> str:
    """A token made three hours ago: a server whose clock is two hours behind takes it for valid too."""
    key = OctKey.import_key(SECRET.encode())
    claims = dict(jwt.decode(development_token(SECRET, staff(account)), key).claims)
    return jwt.encode({"alg": "HS256"}, {**claims, "iat": claims["iat"] - 3 * 3600}, key)


class Client:
    """One client: it waits for an answer before it asks the next thing."""

    def __init__(
        self, number: int, prefix: str, shop: Shop, ports: Sequence[int], ledger: Ledger, seed: int
    ) -> None:
        self.account = f"staff:storm-{number}"
        self._prefix = f"{prefix}{number}-"
        self._shop = shop
        self._addresses = [f"http://127.0.0.1:{port}/graphql" for port in ports]
        self._ledger = ledger
        self._dice = random.Random(seed * 1000 + number)  # noqa: S311 - a load's dice
        self._count = 0
        self._orders: list[str] = []
        self._reservations: list[tuple[str, list[dict[str, Any]]]] = []
        token = long_made_token(self.account)
        self._http = httpx2.AsyncClient(
            timeout=ANSWER_SECONDS,
            headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def run(self, stopping: asyncio.Event) -> None:
        """Ask one thing after the other until told to stop; the last one is still answered."""
        tries: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (20, self.place),
            (3, self.place_many),
            (44, self.go_on),
            (8, self.cancel),
            (6, self.receive),
            (6, self.adjust),
            (7, self.reserve),
            (3, self.release),
        ]
        weights = [weight for weight, _ in tries]
        while not stopping.is_set():
            ((_, attempt),) = self._dice.choices(tries, weights)
            try:
                await attempt()
            except GivenUp:
                self._ledger.given_up += 1

    # What is asked.

    def _lines(self) -> list[dict[str, Any]]:
        skus = {HOT if self._dice.random() < 0.25 else self._dice.choice(self._shop.skus) for _ in range(3)}
        return [
            {"sku": sku, "quantity": self._dice.randint(1, 3), "unitPrice": "10.00"} for sku in sorted(skus)
        ]

    def _order(self, mark: str) -> dict[str, Any]:
        card = {"method": "CARD", "token": self._dice.choice(TOKENS)}
        return {
            "channelId": self._shop.channel,
            "currencyCode": "EUR",
            "lines": self._lines(),
            "payment": card if self._dice.random() < 0.6 else {"method": "EXTERNAL"},
            "note": mark,
        }

    async def place(self) -> None:
        key = self._key()
        order = self._order(key)
        if self._reservations and self._dice.random() < 0.5:
            reservation, lines = self._reservations.pop()
            order |= {
                "reservationId": reservation,
                "lines": [{**line, "unitPrice": "10.00"} for line in lines],
            }
        self._remember(await self._call("orderPlace", {"input": order}, key, marks=1))

    async def place_many(self) -> None:
        """Up to five orders in one request: each is a call of its own, with its own key."""
        calls = []
        for _ in range(self._dice.randint(2, MAX_BULK)):
            key = self._key()
            calls.append(self._begin("orderPlace", {"input": self._order(key)}, key))
        waiting = list(calls)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while waiting:
            inputs = [{"order": call.arguments["input"], "idempotencyKey": call.key} for call in waiting]
            data = await self._answer(BULK, {"inputs": inputs}, deadline)
            again = []
            for call, result in zip(waiting, data["ordersPlace"]["results"] or [], strict=True):
                if _asks_again(result["userErrors"]):
                    again.append(call)
                else:
                    self._settle(call, result, [result["order"]], marks=1)
            waiting = again
            await asyncio.sleep(0.05 if waiting else 0)
        for call in calls:
            self._remember(call)

    def _remember(self, call: Call) -> None:
        if call.ids:
            self._orders.append(f"ord_{call.ids[0]}")
            del self._orders[:-REMEMBERED_ORDERS]

    async def cancel(self) -> None:
        if self._orders:
            order = self._dice.choice(self._orders)
            await self._call("orderCancel", {"input": {"orderId": order, "reason": "storm"}})

    async def receive(self) -> None:
        key = self._key()
        sku = HOT if self._dice.random() < 0.3 else self._dice.choice(self._shop.skus)
        place = {"sku": sku, "locationCode": self._dice.choice(self._shop.locations)}
        await self._call(
            "stockReceive",
            {"input": {**place, "quantity": self._dice.randint(5, 40), "reference": key}},
            key,
            marks=1,
        )

    async def adjust(self) -> None:
        key = self._key()
        place = {"sku": self._dice.choice(self._shop.skus), "locationCode": self._shop.locations[0]}
        change = {"delta": self._dice.choice([-3, -2, -1, 2]), "reason": "Counted", "reference": key}
        await self._call("stockAdjust", {"input": {**place, **change}}, key, marks=1)

    async def reserve(self) -> None:
        key = self._key()
        lines = [{"sku": line["sku"], "quantity": line["quantity"]} for line in self._lines()]
        call = await self._call(
            "stockReserve",
            {"input": {"channelId": self._shop.channel, "lines": lines, "minutes": 5, "reference": key}},
            key,
            marks=1,
        )
        if call.ids:
            self._reservations.append((f"res_{call.ids[0]}", lines))
            del self._reservations[:-5]

    async def release(self) -> None:
        if self._reservations:
            reservation, _ = self._reservations.pop(0)
            await self._call("stockRelease", {"reservationId": reservation})

    async def go_on(self) -> None:
        """The next step in an order's life, whichever there is."""
        if not self._orders:
            return
        answer = await self._answer(
            ORDER, {"id": self._dice.choice(self._orders)}, time.monotonic() + PATIENCE_SECONDS
        )
        steps = list(steps_of(answer["order"])) if answer["order"] else []
        if steps:
            field, arguments, marked = self._dice.choice(steps)
            key = self._key()
            await self._call(field, arguments(key), key, marks=int(marked))

    # How it is asked.

    def _key(self) -> str:
        self._count += 1
        return f"{self._prefix}{self._count}"

    def _begin(self, field: str, arguments: Mapping[str, Any], key: str) -> Call:
        call = Call(account=self.account, key=key, field=field, arguments=arguments)
        self._ledger.calls.append(call)
        return call

    async def _call(
        self, field: str, arguments: Mapping[str, Any], key: str | None = None, *, marks: int = 0
    ) -> Call:
        """One mutation until it is answered: by what it made, or by a refusal."""
        call = self._begin(field, arguments, key or self._key())
        await self.send(call, marks=marks)
        return call

    async def send(self, call: Call, *, marks: int = 0) -> None:
        """Send a call, for the first time or again; the ledger is told of an answer that must not be."""
        mutation = MUTATIONS[call.field]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            data = await self._answer(mutation.text, {**call.arguments, "key": call.key}, deadline)
            payload = data[call.field]
            if not _asks_again(payload["userErrors"]):
                break
            self._ledger.retries += 1
            await asyncio.sleep(self._dice.uniform(0.05, 0.3))
            if time.monotonic() > deadline:
                raise GivenUp
        self._settle(call, payload, mutation.entities(payload), marks=marks)

    def _settle(
        self,
        call: Call,
        payload: Mapping[str, Any],
        entities: Sequence[Mapping[str, Any] | None],
        *,
        marks: int,
    ) -> None:
        codes = [error["code"] for error in payload["userErrors"]]
        ids = [_uuid(entity["id"]) for entity in entities if entity]
        if call.acknowledged_at is not None:
            if set(ids) != set(call.ids):
                self._ledger.broken.append(f"{call.field} {call.key} was {call.ids} and is {ids} {codes}")
            return
        if "IDEMPOTENCY_CONFLICT" in codes:
            self._ledger.broken.append(f"{call.field} {call.key} conflicts with itself")
        if codes:
            call.refused = True
            self._ledger.refusals.update(codes)
            return
        call.marks = marks
        self._ledger.acknowledge(call, ids)

    async def _answer(self, query: str, variables: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        """The data of an answer without errors, however often it must be asked for."""
        body = orjson.dumps({"query": query, "variables": variables})
        pause = 0.05
        while True:
            try:
                response = await self._http.post(self._dice.choice(self._addresses), content=body)
                answer = orjson.loads(response.content) if response.status_code < 500 else {}
            except (httpx2.HTTPError, orjson.JSONDecodeError):
                answer = {}
            if "data" in answer and not answer.get("errors"):
                data: dict[str, Any] = answer["data"]
                return data
            if _is_ours(answer):
                raise RuntimeError(f"{answer} to {query} with {variables}")
            if time.monotonic() > deadline:
                raise GivenUp
            self._ledger.retries += 1
            await asyncio.sleep(self._dice.uniform(0.5, 1.5) * pause)
            pause = min(2 * pause, 0.4)


def _is_ours(answer: Mapping[str, Any]) -> bool:
    """Whether the request was wrong: no repetition helps."""
    codes = {error.get("extensions", {}).get("code") for error in answer.get("errors", [])}
    return bool(codes) and not codes & {"INTERNAL", "TIMEOUT", "THROTTLED", "UNAVAILABLE"}


def _asks_again(errors: Iterable[Mapping[str, Any]]) -> bool:
    return any(error["code"] in AGAIN for error in errors)


def _uuid(text: str) -> UUID:
    parts = split_id(text)
    if parts is None:
        raise ValueError(f"{text} is no id")
    return parts[1]
