"""Steps of a return, for tests to string together."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from db.payments import Refund
from db.returns import Return, ReturnLine
from domain.access import PORTAL_SCOPES, Principal, PrincipalKind
from domain.return_commands import (
    ApproveReturn,
    InspectedUnits,
    InspectReturn,
    ReceivedUnits,
    ReceiveReturn,
    RequestReturn,
    ReturnUnits,
)
from domain.returns import Disposition, ReturnReason
from services.return_inspection import inspect_return, receive_return
from services.return_requests import request_return
from services.returns import (
    approve_return,
)
from tests.fulfillment.steps import (
    CARD,
    accepted,
    settle_payments,
    ship,
    warehouse,
)
from tests.world import STAFF, World


async def sold(world: World, *lines: tuple[str, int], **more: Any) -> UUID:
    """An order that was paid by card and has left."""
    order_id = await world.place(*lines, payment=CARD, **more)
    await settle_payments(world, order_id)
    await ship(world, await accepted(world, order_id))
    await settle_payments(world, order_id)
    return order_id


async def requested(world: World, order_id: UUID, *quantities: int, actor: Principal = STAFF) -> UUID:
    lines = await world.lines(order_id)
    return_id: UUID = await world.run(
        request_return,
        RequestReturn(
            order_id=order_id,
            lines=tuple(
                ReturnUnits(order_line_id=line.id, quantity=quantity, reason=ReturnReason.DOES_NOT_FIT)
                for line, quantity in zip(lines, quantities, strict=False)
                if quantity
            ),
        ),
        actor,
    )
    return return_id


async def opened(world: World, order_id: UUID, *quantities: int) -> UUID:
    return_id = await requested(world, order_id, *quantities)
    await world.run(approve_return, ApproveReturn(return_id=return_id))
    return return_id


async def received(world: World, order_id: UUID, *quantities: int) -> UUID:
    return_id = await opened(world, order_id, *quantities)
    await receive(world, return_id, *(quantity for quantity in quantities if quantity))
    return return_id


async def receive(world: World, return_id: UUID, *quantities: int, **more: Any) -> None:
    lines = await return_lines(world, return_id)
    units = [
        ReceivedUnits(line_id=line.id, quantity=quantity)
        for line, quantity in zip(lines, quantities, strict=False)
        if quantity
    ]
    await world.run(
        receive_return, ReceiveReturn(return_id=return_id, lines=tuple(units), **more), warehouse(world)
    )


async def inspect(
    world: World,
    return_id: UUID,
    *judged: tuple[int, int],
    disposition: Disposition | None = Disposition.RESTOCK,
    **more: Any,
) -> None:
    lines = await return_lines(world, return_id)
    await world.run(
        inspect_return,
        InspectReturn(
            return_id=return_id,
            lines=tuple(
                InspectedUnits(line_id=line.id, accepted=accepted, rejected=rejected, disposition=disposition)
                for line, (accepted, rejected) in zip(lines, judged, strict=False)
            ),
            **more,
        ),
        warehouse(world),
    )


async def return_lines(world: World, return_id: UUID) -> list[sa.Row[Any]]:
    return await world.all(
        sa.select(ReturnLine.__table__).where(ReturnLine.return_id == return_id).order_by(ReturnLine.id)
    )


async def the_return(world: World, return_id: UUID) -> sa.Row[Any]:
    return await world.one(sa.select(Return.__table__).where(Return.id == return_id))


async def refunds(world: World, order_id: UUID) -> list[tuple[str, int, UUID | None]]:
    rows = await world.all(sa.select(Refund.__table__).where(Refund.order_id == order_id).order_by(Refund.id))
    return [(str(row.status), row.amount, row.return_id) for row in rows]


def customer(world: World) -> Principal:
    return Principal(
        kind=PrincipalKind.CUSTOMER,
        account="customer:ada",
        scopes=PORTAL_SCOPES,
        customer_id=world.customer_id,
    )
