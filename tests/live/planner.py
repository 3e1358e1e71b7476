"""A planner with one query and three subscriptions, rendered by SQL of its own under the product's predicates.

The live path is tested without the product's schema: what it needs of a plan is only
that it renders keys on a connection, and that it says what may be shared.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa
from graphql import (
    FieldNode,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    parse,
    value_from_ast_untyped,
)
from sqlalchemy.dialects.postgresql import ARRAY

from app.graphql.answers import Result
from db import cursors, visibility
from db.events import EventLog
from domain.access import Principal, VisibilityClass
from domain.events import EventType
from schema.plan.operation import RequestError
from schema.plan.sqltext import compiled
from services.feed import Selection, Source


@dataclass(frozen=True)
class Operation:
    kind: OperationType
    field: str
    key: str
    arguments: dict[str, Any]


def order_events(
    info: Any,
    order_id: str | None = None,
    after: str | None = None,
    type: str | None = None,
    mode: str | None = None,
) -> Source:
    return Source(
        selection=Selection(
            orders=None if order_id is None else frozenset({UUID(order_id)}),
            types=None if type is None else frozenset({type}),
        ),
        after=after,
        latest_by=("order_id",) if mode == "LATEST" else (),
    )


def order_status(info: Any, order_id: str) -> Source:
    return Source(selection=Selection(orders=frozenset({UUID(order_id)})), snapshots="order_id")


def broken_events(info: Any) -> Source:
    return Source(selection=Selection())


@dataclass(frozen=True)
class Plan:
    field_name: str
    response_key: str
    function: Callable[..., Source]
    arguments: Mapping[str, Any]
    principal: Principal
    planner: Planner

    @property
    def share_key(self) -> Hashable:
        return self.field_name, self.response_key, self.principal

    async def render(self, connection: Any, keys: Sequence[Any], principal: Principal) -> dict[Any, bytes]:
        self.planner.renders += 1
        log = EventLog.__table__.alias()
        visible = visibility.predicate("event_log", log, VisibilityClass.of(principal))
        if self.field_name == "orderStatus":
            statement = (
                sa.select(log.c.order_id, sa.func.max(log.c.version))
                .where(log.c.order_id == sa.any_(sa.bindparam("keys", type_=ARRAY(sa.Uuid()))), visible)
                .group_by(log.c.order_id)
            )
        else:
            statement = sa.select(
                log.c.position, log.c.version, log.c.type, log.c.order_id, cursors.cursor_of(log.c.position)
            ).where(log.c.position == sa.any_(sa.bindparam("keys", type_=ARRAY(sa.BigInteger()))), visible)
        sql, names = compiled(statement)
        values = {**visibility.values(principal), "keys": list(keys)}
        rows = await connection.fetch(sql, *(values[name] for name in names))
        return {row[0]: self._payload(row) for row in rows}

    def _payload(self, row: Any) -> bytes:
        if self.field_name == "orderStatus":
            return orjson.dumps({"data": {self.response_key: {"version": row[1]}}})
        if self.field_name == "brokenEvents" and row[2] == EventType.ORDER_UPDATED:
            raise ValueError("this row cannot be rendered")
        event = {"cursor": row[4], "version": row[1], "type": row[2], "orderId": str(row[3])}
        return orjson.dumps({"data": {self.response_key: event}})


class Planner:
    def __init__(self) -> None:
        self.renders = 0

    def operation(self, text: str, name: str | None) -> Operation:
        try:
            document = parse(text)
        except GraphQLError as error:
            raise RequestError(error) from None
        definition = document.definitions[0]
        assert isinstance(definition, OperationDefinitionNode)
        field = definition.selection_set.selections[0]
        assert isinstance(field, FieldNode)
        return Operation(
            definition.operation,
            field.name.value,
            (field.alias or field.name).value,
            {
                {"orderId": "order_id"}.get(argument.name.value, argument.name.value): value_from_ast_untyped(
                    argument.value
                )
                for argument in field.arguments or ()
            },
        )

    def plan_subscription(
        self, text: str, name: str | None, variables: Mapping[str, Any], principal: Principal
    ) -> Plan:
        operation = self.operation(text, name)
        functions = {"orderEvents": order_events, "orderStatus": order_status, "brokenEvents": broken_events}
        if operation.field not in functions:
            raise RequestError(GraphQLError(f"Cannot query field '{operation.field}'."))
        return Plan(
            operation.field, operation.key, functions[operation.field], operation.arguments, principal, self
        )


async def execute(
    text: str,
    operation_name: str | None,
    variables: Mapping[str, Any],
    principal: Principal,
    *,
    mutations: bool = True,
) -> Result:
    operation = Planner().operation(text, operation_name)
    if operation.kind is OperationType.MUTATION and not mutations:
        return Result(orjson.dumps({"errors": [{"message": "Mutations are sent with POST."}]}), 405)
    if operation.field == "account":
        return Result(orjson.dumps({"data": {operation.key: principal.account}}))
    return Result(orjson.dumps({"errors": [{"message": f"Cannot query field '{operation.field}'."}]}), 400)
