"""The one place that opens and commits a writing transaction.

A use case is `async (session, command, *, actor, now) -> outcome`. The unit of
work takes the idempotency key first, runs the use case, stores its outcome under
the key and commits; all of it or nothing. It tries again after a serialization
failure, a deadlock or a lost connection, and settles an ambiguous COMMIT by
asking for the key.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import asyncpg

from db.engine import Engine, NoConnection, Session
from domain.access import Principal
from domain.errors import Busy, Refused
from services import audit, idempotency
from services.audit import Call, RefusedCalls
from services.group_commit import GroupCommit
from services.idempotency import Key, Repeated
from services.joint import Apart, Asking, Joint

__all__ = ["Key", "UnitOfWork", "UseCase"]

C_contra = TypeVar("C_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
Result = TypeVar("Result")
Command = TypeVar("Command")

BUSY = "Others are changing the same order or stock; try again."
ATTEMPTS = 4
"""The first try and three more."""

UNREACHABLE = (
    ConnectionError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
)
"""What the driver raises while the server restarts, is full, or ends our connection."""

AGAIN = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""Two transactions stood in each other's way and one had to give in; it may go first now."""


class UseCase(Protocol[C_contra, R_co]):
    """What a mutation, a job or an import does in one transaction."""

    async def __call__(
        self, session: Session, command: C_contra, /, *, actor: Principal, now: datetime
    ) -> R_co: ...


class UnitOfWork:
    """Runs use cases on `engine`; `on_commit` is called after each commit, outside the transaction."""

    def __init__(self, engine: Engine, on_commit: Callable[[], None] = lambda: None) -> None:
        self._engine = engine
        self._on_commit = on_commit
        self.refused = RefusedCalls()
        self._groups: dict[Joint[Any, Any, Any], GroupCommit] = {}

    async def run(
        self,
        use_case: UseCase[Command, Result],
        command: Command,
        *,
        actor: Principal,
        key: Key | None = None,
        call: Call | None = None,
    ) -> Result:
        """The use case's outcome, whether this call or an earlier one with the same key committed it.

        Raises `Refused` (nothing has changed; Busy when a lock could not be had within
        5 s), or a database error when it could not be settled in four attempts. A caller
        that stops waiting does not stop the work: a COMMIT that was begun is always
        finished.
        """
        work = self.run_to_the_end(use_case, command, actor=actor, key=key, call=call)
        return await asyncio.shield(asyncio.ensure_future(work))

    async def run_to_the_end(
        self,
        use_case: UseCase[Command, Result],
        command: Command,
        *,
        actor: Principal,
        key: Key | None = None,
        call: Call | None = None,
    ) -> Result:
        """The same, for a caller in a task of its own that nobody stops.

        `call` goes into the audit: by the transaction that does it, or as refused.
        """
        try:
            return await self._run(use_case, command, actor, key or Key.of(None), call)
        except Refused as refused:
            if call is not None:
                self.refused.note(call, refused.errors[0].code, actor=actor, now=datetime.now(UTC))
            raise

    async def _run(
        self,
        use_case: UseCase[Command, Result],
        command: Command,
        actor: Principal,
        key: Key,
        call: Call | None,
    ) -> Result:
        joins = isinstance(use_case, Joint) and use_case.joins(command)
        for attempt in range(0 if joins else 1, ATTEMPTS + 1):
            try:
                if attempt == 0:
                    return await self._group(use_case).run(Asking(command, actor), key, call)  # type: ignore[no-any-return]
                return await self._attempt(use_case, command, actor, key, call)
            except Apart:
                continue
            except Repeated as repeated:
                return repeated.outcome  # type: ignore[no-any-return] # the codec gives back what was stored
            except asyncpg.LockNotAvailableError as error:
                if not (key.made and 1 < attempt < ATTEMPTS):
                    raise Refused(Busy(message=BUSY)) from error
            except NoConnection as error:
                message = "Too much is being written at once; try again."
                raise Refused(Busy(message=message)) from error
            except AGAIN as error:
                # Nothing has changed; callers need not know in which way others were faster.
                if attempt == ATTEMPTS:
                    raise Refused(Busy(message=BUSY)) from error
            except UNREACHABLE:
                if attempt == ATTEMPTS:
                    raise
            await asyncio.sleep(random.uniform(0.5, 1.5) * 0.05 * 2**attempt)  # noqa: S311 - jitter
        raise AssertionError("unreachable")

    def _group(self, use_case: Any) -> GroupCommit:
        if use_case not in self._groups:
            self._groups[use_case] = GroupCommit(self._engine, use_case, self._on_commit)
        return self._groups[use_case]

    async def _attempt(
        self,
        use_case: UseCase[Command, Result],
        command: Command,
        actor: Principal,
        key: Key,
        call: Call | None,
    ) -> Result:
        async with self._engine.begin(gathering=True) as session:
            now = await idempotency.take(session, actor.account, key)
            outcome = await use_case(session, command, actor=actor, now=now)
            if call is not None:
                await audit.record(session, [(call, actor, outcome)], now=now)
            await idempotency.finish(session, [((actor.account, key.key), outcome)])
        self._on_commit()
        return outcome
