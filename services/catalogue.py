"""What an order's lines name: products, and what the channel's price lists ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.dialects.postgresql import ARRAY

from db.engine import Session
from db.products import Price, PriceList, Product
from domain.errors import NotFound, Refused, UserError
from domain.order_commands import PlaceOrder

_wanted = (
    sa.func.unnest(
        sa.bindparam("skus", type_=ARRAY(sa.Text())), sa.bindparam("quantities", type_=ARRAY(sa.Integer()))
    )
    .table_valued(
        sa.column("sku", sa.Text()), sa.column("quantity", sa.Integer()), with_ordinality="position"
    )
    .render_derived(name="wanted")
)
_listed = (
    sa.select(Price.amount)
    .join(PriceList, PriceList.id == Price.price_list_id)
    .where(
        Price.product_id == Product.id,
        Price.minimum_quantity <= _wanted.c.quantity,
        PriceList.active,
        PriceList.currency == sa.bindparam("currency", type_=sa.CHAR(3)),
        sa.or_(PriceList.channel_id.is_(None), PriceList.channel_id == sa.bindparam("channel_id")),
        sa.or_(PriceList.valid_from.is_(None), PriceList.valid_from <= sa.bindparam("now")),
        sa.or_(PriceList.valid_until.is_(None), PriceList.valid_until > sa.bindparam("now")),
    )
    # The channel's own list counts before a general one, a larger quantity's price before a smaller's.
    .order_by(PriceList.channel_id.is_(None), Price.minimum_quantity.desc(), PriceList.id)
    .limit(1)
    .correlate(Product, _wanted)
    .scalar_subquery()
)
_PRODUCTS = (
    sa.select(Product.id, Product.name, Product.backorderable, Product.active, _listed.label("listed_price"))
    .select_from(_wanted)
    .outerjoin(Product, Product.sku == _wanted.c.sku)
    .order_by(_wanted.c.position)
)


async def load_products(
    session: Session, command: PlaceOrder, *, currency: str, now: datetime
) -> Sequence[Row[Any]]:
    """One row a line: the product and what a price list asks for that many units of it."""
    rows = (
        await session.execute(
            _PRODUCTS,
            {
                "skus": [line.sku for line in command.lines],
                "quantities": [line.quantity for line in command.lines],
                "currency": currency,
                "channel_id": command.channel_id,
                "now": now,
            },
        )
    ).all()
    unknown: list[UserError] = [
        NotFound(
            message=f"There is no product with the SKU {line.sku!r}.",
            field=("lines", str(index), "sku"),
            id=line.sku,
        )
        for index, (line, row) in enumerate(zip(command.lines, rows, strict=True))
        if row.id is None or not row.active
    ]
    if unknown:
        raise Refused(*unknown)
    return rows
