"""The one place that opens and commits a writing transaction.

A use case is `async (session, command, *, actor, now) -> outcome`. The unit of
work takes the idempotency key first, runs the use case, stores its outcome under
the key and commits; all of it or nothing. It tries again after a serialization
failure, a deadlock or a lost connection, and settles an ambiguous COMMIT by
asking for the key.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db.engine import Engine, NoConnection, Session
from db.idempotency import IdempotencyKey
from domain.access import Principal
from domain.errors import Busy, IdempotencyConflict, IdempotencyInProgress, Refused
from services import audit, outcomes
from services.audit import Call, RefusedCalls

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

_TAKE = (
    insert(IdempotencyKey)
    .values(
        account=sa.bindparam("account", type_=sa.Text()),
        key=sa.bindparam("key", type_=sa.Text()),
        fingerprint=sa.bindparam("fingerprint", type_=sa.LargeBinary()),
    )
    .on_conflict_do_nothing()
    .returning(sa.func.now())
)
_LOOK = sa.select(IdempotencyKey.fingerprint, IdempotencyKey.outcome, IdempotencyKey.finished_at).where(
    IdempotencyKey.account == sa.bindparam("account"), IdempotencyKey.key == sa.bindparam("key")
)
_FINISH = (
    sa.update(IdempotencyKey)
    .where(IdempotencyKey.account == sa.bindparam("of_account"), IdempotencyKey.key == sa.bindparam("of_key"))
    .values(outcome=sa.bindparam("outcome"), finished_at=sa.func.now())
)


class UseCase(Protocol[C_contra, R_co]):
    """What a mutation, a job or an import does in one transaction."""

    async def __call__(
        self, session: Session, command: C_contra, /, *, actor: Principal, now: datetime
    ) -> R_co: ...


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key as its caller sent it, and a digest of what it was sent with."""

    key: str
    fingerprint: bytes
    made: bool = False
    """Made here: only an earlier attempt of the same call can hold it."""

    @classmethod
    def of(cls, key: str | None, *what: str | bytes) -> Key:
        """A caller that sends no key gets one made, so that its ambiguous COMMIT can be settled too."""
        digest = hashlib.sha256()
        for part in what:
            encoded = part.encode() if isinstance(part, str) else part
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
        made = key is None
        return cls(key=f"made-{uuid4()}" if key is None else key, fingerprint=digest.digest(), made=made)


class _Repeated(Exception):
    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome


class UnitOfWork:
    """Runs use cases on `engine`; `on_commit` is called after each commit, outside the transaction."""

    def __init__(self, engine: Engine, on_commit: Callable[[], None] = lambda: None) -> None:
        self._engine = engine
        self._on_commit = on_commit
        self.refused = RefusedCalls()

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
        work = asyncio.ensure_future(self._audited(use_case, command, actor, key or Key.of(None), call))
        return await asyncio.shield(work)

    async def _audited(
        self,
        use_case: UseCase[Command, Result],
        command: Command,
        actor: Principal,
        key: Key,
        call: Call | None,
    ) -> Result:
        """`call` goes into the audit: by the transaction that does it, or as refused."""
        try:
            return await self._run(use_case, command, actor, key, call)
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
        for attempt in range(1, ATTEMPTS + 1):
            try:
                outcome = await self._attempt(use_case, command, actor, key, call)
            except _Repeated as repeated:
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
            else:
                self._on_commit()
                return outcome
            await asyncio.sleep(random.uniform(0.5, 1.5) * 0.05 * 2**attempt)  # noqa: S311 - jitter
        raise AssertionError("unreachable")

    async def _attempt(
        self,
        use_case: UseCase[Command, Result],
        command: Command,
        actor: Principal,
        key: Key,
        call: Call | None,
    ) -> Result:
        async with self._engine.begin(gathering=True) as session:
            now = await self._take(session, actor, key)
            outcome = await use_case(session, command, actor=actor, now=now)
            if call is not None:
                await audit.record(session, call, outcome, actor=actor, now=now)
            await session.execute(
                _FINISH,
                {"of_account": actor.account, "of_key": key.key, "outcome": outcomes.encode(outcome)},
            )
        return outcome

    async def _take(self, session: Session, actor: Principal, key: Key) -> datetime:
        """Take the key, waiting for a rival that holds it; the database's clock is the only one."""
        parameters = {"account": actor.account, "key": key.key}
        try:
            taken: datetime | None = (
                await session.execute(_TAKE, {**parameters, "fingerprint": key.fingerprint})
            ).scalar_one_or_none()
        except asyncpg.LockNotAvailableError as error:
            if key.made:
                raise
            message = "A call with this idempotency key is still running; try again."
            raise Refused(
                IdempotencyInProgress(message=message, field=("idempotencyKey",), key=key.key)
            ) from error
        if taken is not None:
            return taken
        fingerprint, outcome, finished_at = (await session.execute(_LOOK, parameters)).one()
        if fingerprint != key.fingerprint:
            message = "This idempotency key was used for another input."
            raise Refused(IdempotencyConflict(message=message, field=("idempotencyKey",), key=key.key))
        if finished_at is None:
            raise RuntimeError(f"idempotency key {key.key!r} was committed without an outcome")
        raise _Repeated(outcomes.decode(outcome))
