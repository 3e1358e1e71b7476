"""The served schema without a server: operations of a principal, answered from a test's database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

import orjson

from app.graphql.execution import Executor
from db import visibility
from db.reads import Reads
from domain.access import Principal
from resolvers.context import Context
from resolvers.root import make_schema
from schema.plan.planner import Planner
from tests.world import STAFF, World


@lru_cache(maxsize=1)
def planner() -> Planner:
    return Planner(make_schema(), visibility.predicate, visibility.values)


class Api:
    """Executes operations; `data` also asserts that nothing went wrong."""

    def __init__(self, world: World, executor: Executor) -> None:
        self.world = world
        self._executor = executor

    async def execute(
        self, text: str, variables: dict[str, Any] | None = None, actor: Principal = STAFF
    ) -> dict[str, Any]:
        result = await self._executor.execute(text, None, variables or {}, actor)
        answer: dict[str, Any] = orjson.loads(result.body)
        return answer

    async def data(
        self, text: str, variables: dict[str, Any] | None = None, actor: Principal = STAFF
    ) -> dict[str, Any]:
        answer = await self.execute(text, variables, actor)
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    async def change(
        self, text: str, variables: dict[str, Any] | None = None, actor: Principal = STAFF
    ) -> dict[str, Any]:
        """The payload of the one mutation in `text`, which reported no user errors."""
        ((_, payload),) = (await self.data(text, variables, actor)).items()
        assert payload["userErrors"] == [], payload["userErrors"]
        shown: dict[str, Any] = payload
        return shown


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[Api]:
    reads = Reads(world.engine.url.render_as_string(hide_password=False), size=2)
    await reads.open()

    def context(principal: Principal) -> Context:
        return Context(principal=principal, unit_of_work=world.unit_of_work, request_id="test")

    try:
        yield Api(world, Executor(planner(), reads, reads, context))
    finally:
        await reads.close()
