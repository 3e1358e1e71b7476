"""What subscribers are sent, rendered once for all who asked for the same and may see the same."""

from __future__ import annotations

import uuid
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import asyncpg
import orjson
import structlog

from db.pool import NoConnection
from db.reads import Reads
from domain.access import Principal

log = structlog.get_logger("live")

LOST = (
    OSError,
    TimeoutError,
    NoConnection,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what the driver may say of a connection killed at the wrong moment
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TransactionRollbackError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TooManyConnectionsError,
)
"""What passes: the database is restarting, or gone for now. Nothing is skipped for it."""

Payload = bytes
Key = Any
"""What identifies a rendered thing: an event's position, or an entity's UUID."""


class Plan(Protocol):
    """A subscription's compiled plan; `schema.plan` makes it."""

    @property
    def share_key(self) -> Hashable: ...

    async def render(
        self, connection: Any, keys: Sequence[Key], principal: Principal
    ) -> Mapping[Key, Payload]: ...


class Rendering:
    """One plan for one set of visible rows. Each batch of keys is one statement, visibility included."""

    def __init__(self, plan: Plan, principal: Principal, response_key: str, reads: Reads) -> None:
        self.share_key = plan.share_key
        self.audiences = 0
        self._plan = plan
        self._principal = principal
        self._response_key = response_key
        self._reads = reads

    async def render(self, keys: Iterable[Key]) -> Mapping[Key, Payload]:
        """The payloads by key; what may not be seen is absent.

        Raises one of `LOST` when it should be tried again. A row that cannot be
        rendered is a payload with a masked error, so that those after it still come.
        """
        wanted = list(keys)
        if not wanted:
            return {}
        try:
            return await self._render(wanted)
        except LOST:
            raise
        except Exception as error:
            if len(wanted) > 1:
                half = len(wanted) // 2
                return {**await self.render(wanted[:half]), **await self.render(wanted[half:])}
            return {wanted[0]: self._masked(wanted[0], error)}

    async def _render(self, keys: list[Key]) -> Mapping[Key, Payload]:
        async with self._reads.connection() as connection:
            return await self._plan.render(connection, keys, self._principal)

    def _masked(self, key: Key, error: Exception) -> Payload:
        correlation_id = uuid.uuid4().hex
        log.error("event_not_rendered", key=str(key), correlation_id=correlation_id, exc_info=error)
        shown = {
            "message": "Internal error.",
            "path": [self._response_key],
            "extensions": {"code": "INTERNAL", "correlationId": correlation_id},
        }
        return orjson.dumps({"data": None, "errors": [shown]})
