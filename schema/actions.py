"""`availableActions`: the domain's action tables as SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, array

from db.orders import OrderLine
from domain.actions import ORDER_ACTIONS, Action, Fact

S = TypeVar("S", bound=StrEnum)


def actions_of(
    table: Sequence[Action[S]], status: Any, facts: Mapping[Fact, sa.ColumnElement[bool]]
) -> sa.ColumnElement[Any]:
    """The names of the table's actions that the row's status and `facts` permit, in the table's order."""
    permitted = [
        sa.case(
            (
                sa.and_(
                    sa.cast(status, sa.Text()).in_([str(state) for state in action.states]),
                    *(facts[fact] for fact in action.needs),
                ),
                sa.literal(action.name, sa.Text()),
            )
        )
        for action in table
    ]
    names = sa.cast(array(permitted), ARRAY(sa.Text()))
    return sa.func.array_remove(names, sa.cast(sa.null(), sa.Text()), type_=ARRAY(sa.Text()))


def order_actions(order: Any) -> sa.ColumnElement[Any]:
    lines = OrderLine.__table__.alias()

    def some(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        return sa.exists().where(lines.c.order_id == order.id, condition)

    balance = (
        order.current_total
        - order.credited_total
        - order.received_total
        + order.refunded_total
        + order.charged_back_total
    )
    return actions_of(
        ORDER_ACTIONS,
        order.status,
        {
            Fact.HELD: order.on_hold,
            Fact.UNITS_OPEN: some(lines.c.quantity > lines.c.quantity_cancelled + lines.c.quantity_fulfilled),
            Fact.UNITS_RETURNABLE: some(lines.c.quantity_fulfilled > lines.c.quantity_returned),
            Fact.MONEY_DUE: balance > 0,
        },
    )
