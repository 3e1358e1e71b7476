"""The root field that takes many orders at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from domain.access import Scope
from domain.errors import InvalidInput, Refused
from domain.upserts import MAX_BATCH
from resolvers.context import write
from schema.order_intake import OrdersPlaceInput
from schema.orders import Order
from schema.plan import Info, UserError, mutation, no_errors, ref, value_type
from services.outcomes import ItemOutcome
from services.placement import place_order

TOGETHER = 32
"""Orders of one batch under way that may share a transaction: as many as one takes."""

APART = 4
"""The same of those that take one each: other callers need database connections too."""

ALONE = "orderPlace"
"""The root field that keys of a batch's orders belong to."""


@value_type(description="The order, or why there is none.")
class OrdersPlaceResult:
    index: int
    order: Order | None
    user_errors: list[UserError] = no_errors()


@value_type(description="One result an order, in their order; userErrors are those of the batch as a whole.")
class OrdersPlacePayload:
    results: list[OrdersPlaceResult] | None
    user_errors: list[UserError] = no_errors()


@mutation(
    scope=Scope.ORDERS_WRITE,
    description=(
        "Places up to 100 orders, each as `orderPlace` would under its own idempotency key: in a transaction of its "
        "own, answered for itself. What one is refused for touches no other; sent again, those that were placed are "
        "answered and the others are tried."
    ),
)
async def orders_place(info: Info, inputs: list[OrdersPlaceInput]) -> OrdersPlacePayload:
    if not 1 <= len(inputs) <= MAX_BATCH:
        message = f"Send 1 to {MAX_BATCH} orders at once."
        raise Refused(InvalidInput(message=message, field=("inputs",)))
    return OrdersPlacePayload(
        results=[
            OrdersPlaceResult(
                index=index,
                order=ref(Order, outcome.id),
                user_errors=list(outcome.errors),  # type: ignore[arg-type] # shown as their GraphQL types
            )
            for index, outcome in enumerate(await _place_each(info, inputs))
        ]
    )


async def _place_each(info: Info, inputs: Sequence[OrdersPlaceInput]) -> list[ItemOutcome]:
    """An answer for each. Orders under one key take their turns, in the order given.

    Whatever else goes wrong is raised once all have ended: the keys tell a repeat what was done.
    """
    sent = info.arguments["inputs"]
    by_key: dict[str, list[int]] = {}
    for index, item in enumerate(inputs):
        by_key.setdefault(item.idempotency_key, []).append(index)
    room = {True: asyncio.Semaphore(TOGETHER), False: asyncio.Semaphore(APART)}
    answers: dict[int, ItemOutcome] = {}

    async def place_in_turn(indexes: Sequence[int]) -> None:
        for index in indexes:
            answers[index] = await _place(info, inputs[index], sent[index]["order"], room)

    ended = await asyncio.gather(*map(place_in_turn, by_key.values()), return_exceptions=True)
    for failure in ended:
        if failure is not None:
            raise failure
    return [answers[index] for index in range(len(inputs))]


async def _place(
    info: Info, item: OrdersPlaceInput, sent: Any, room: Mapping[bool, asyncio.Semaphore]
) -> ItemOutcome:
    try:
        command = item.order.to_command()
        async with room[place_order.joins(command)]:
            placed: UUID = await write(
                info, place_order, command, key=item.idempotency_key, call=(ALONE, {"input": sent})
            )
    except Refused as refused:
        return ItemOutcome(None, refused.errors)
    return ItemOutcome(placed)
