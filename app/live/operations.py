"""One operation over a transport that streams: a result, or a subscription to follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import orjson
from graphql import GraphQLError, OperationType

from app.graphql.answers import Result, error_json, masked, refused
from app.graphql.requests import GraphQLRequest
from app.live.hub import Hub
from app.live.subscribers import Outlet, Subscriber
from app.live.subscriptions import SubscriptionPlan, subscribe
from domain.access import Principal
from schema.plan.operation import RequestError


class PlansSubscriptions(Protocol):
    """The planner, as far as streams need it."""

    def operation(self, text: str, name: str | None) -> Any: ...

    def plan_subscription(
        self, text: str, name: str | None, variables: Mapping[str, Any], principal: Principal
    ) -> SubscriptionPlan: ...


class Executes(Protocol):
    """The executor of queries and mutations."""

    async def __call__(
        self,
        text: str,
        operation_name: str | None,
        variables: Mapping[str, Any],
        principal: Principal,
        *,
        mutations: bool = True,
    ) -> Result: ...


class Operations:
    """Starts operations of every kind."""

    def __init__(self, planner: PlansSubscriptions, execute: Executes, hub: Hub) -> None:
        self._planner = planner
        self._execute = execute
        self._hub = hub

    async def start(
        self,
        request: GraphQLRequest,
        principal: Principal,
        outlet: Outlet,
        *,
        resume: str | None = None,
        mutations: bool = True,
    ) -> Subscriber | Result:
        """A subscription that `outlet` is fed from now on, or the finished result.

        `resume` is a cursor that the transport kept. What cannot be executed is a result
        of errors without data, with a status of 400 or more.
        """
        try:
            operation = self._planner.operation(request.text, request.operation_name)
            if operation.kind is not OperationType.SUBSCRIPTION:
                return await self._execute(
                    request.text, request.operation_name, request.variables, principal, mutations=mutations
                )
            plan = self._planner.plan_subscription(
                request.text, request.operation_name, request.variables, principal
            )
            return await subscribe(self._hub, plan, principal, outlet, resume=resume)
        except RequestError as error:
            return refused(error.errors)
        except Exception as error:  # the boundary: a bug is masked, never shown
            return refused([masked(error, None, "subscription")], 500)


def errors_of(result: Result) -> bytes | None:
    """The JSON list of errors when nothing was executed, None when there is a result to show."""
    return None if result.status < 400 else orjson.dumps(orjson.loads(result.body)["errors"])


def error_list(message: str, extensions: Mapping[str, Any]) -> bytes:
    """The JSON list of one error."""
    return orjson.dumps([error_json(GraphQLError(message, extensions=dict(extensions)))])
