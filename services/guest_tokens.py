"""Portal links to one order. Nothing of them is stored: they are signed."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from db import visibility
from db.base import new_id
from db.engine import Session
from db.orders import Order
from domain.access import Principal, PrincipalKind, VisibilityClass
from domain.errors import InvalidInput, NotFound, Refused
from domain.guest_tokens import CreateGuestToken, check_lifetime
from domain.ids import Prefix, format_id


async def create_guest_token(
    session: Session, command: CreateGuestToken, /, *, actor: Principal, now: datetime
) -> tuple[UUID, UUID, int, int]:
    """Order, id of the token, and when it begins and ends (seconds since 1970): all that is to be signed."""
    check_lifetime(command.lifetime)
    if actor.kind in (PrincipalKind.CUSTOMER, PrincipalKind.GUEST):
        raise Refused(InvalidInput(message="Only staff and partners make portal links."))
    visible = visibility.predicate("orders", Order.__table__, VisibilityClass.of(actor))
    found = await session.execute(
        sa.select(Order.id).where(Order.id == command.order_id, visible), visibility.values(actor)
    )
    if found.scalar_one_or_none() is None:
        shown = format_id(Prefix.ORDER, command.order_id)
        raise Refused(NotFound(message="There is no such order.", field=("orderId",), id=shown))
    return command.order_id, new_id(), int(now.timestamp()), int((now + command.lifetime).timestamp())
