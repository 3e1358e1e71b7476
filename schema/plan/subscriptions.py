"""Plans of subscriptions: one statement renders a batch of events for everybody who may see them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from domain.access import Principal
from schema.plan.arguments import Variables
from schema.plan.catalog import PrincipalValues
from schema.plan.payloads import BrokenPromise
from schema.plan.plans import CallPlan, Entities, Selection
from schema.plan.select import BREAK
from schema.plan.statements import Statement

BETWEEN = "\x1e"
"""Between the texts of a batch, which come as one: a control character, so no JSON holds it."""


class Fetches(Protocol):
    """As much of an asyncpg connection as rendering needs."""

    async def fetch(self, sql: str, *values: Any) -> Sequence[Any]: ...


@dataclass(frozen=True, slots=True)
class SubscriptionPlan:
    """A subscription of one caller: where its events come from, and how each is shown.

    `function(info, **arguments)` describes the source; `render` shows what stands
    under the keys that the source yields.
    """

    call: CallPlan
    arguments: Mapping[str, Any]
    share_key: Hashable
    _selection: Selection
    _statement: Statement
    _entities: Entities
    _values: Variables
    _principal_values: PrincipalValues

    @property
    def response_key(self) -> str:
        return self.call.key

    @property
    def field_name(self) -> str:
        return self.call.nodes[0].name.value

    @property
    def function(self) -> Callable[..., Any]:
        return self.call.call.function

    async def render(
        self, connection: Fetches, keys: Sequence[Any], principal: Principal
    ) -> dict[Any, bytes]:
        """The finished payload of each key, in one statement; what the principal may not see is absent.

        `principal` may be any whose plan has the same `share_key`.
        """
        bound = {**self._principal_values(principal), "keys": list(keys)}
        begin, end = f'{{"data":{{"{self.response_key}":', "}}"
        sql = (
            f"select array_agg(key), convert_to(string_agg(shown, '{end}{BETWEEN}{begin}'), 'UTF8')"
            f" from ({self._statement.sql}) as each (key, shown)"
        )
        [(found, joined)] = await connection.fetch(sql, *self._statement.values(self._values, bound))
        if found is None:
            return {}
        shown = b"".join((begin.encode(), joined, end.encode())).split(BETWEEN.encode())
        payloads = dict(zip(found, shown, strict=True))
        if BREAK.encode() in joined:
            for key, payload in payloads.items():
                if BREAK.encode() in payload:
                    payloads[key] = self._broken(key, payload[len(begin) : -len(end)].decode())
        return payloads

    def _broken(self, key: Any, text: str) -> bytes:
        """The payload of a text that may hold a null where the schema promises a value."""
        try:
            self._entities.check(self._selection, {key: text})
        except BrokenPromise as broken:
            error = {
                "message": f"Cannot return null for non-nullable field {broken}.",
                "path": [self.response_key],
                "extensions": {"code": "INTERNAL"},
            }
            return orjson.dumps({"data": None, "errors": [error]})
        return f'{{"data":{{"{self.response_key}":{text}}}}}'.encode()


def share_key(call: CallPlan, statement: Statement, values: Variables, bound: Mapping[str, Any]) -> Hashable:
    """The same statement over the same values shows the same text, whoever asks."""
    shown = [_hashable(value) for value in statement.values(values, {**bound, "keys": None})]
    return call.key, statement.sql, tuple(shown)


def _hashable(value: Any) -> Hashable:
    return tuple(_hashable(item) for item in value) if isinstance(value, list) else value
