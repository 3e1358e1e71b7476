"""Use cases that do many calls in one transaction as well as one.

What a COMMIT, a round trip and a statement cost is then shared: see `services/group_commit.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Generic, NamedTuple, Protocol, TypeVar

from db.engine import Session
from domain.access import Principal
from domain.errors import Refused
from services.idempotency import Taking

Command = TypeVar("Command")
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")
P_co = TypeVar("P_co", covariant=True)
P_contra = TypeVar("P_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class Asking(NamedTuple, Generic[Command]):
    """One call: what is asked, and who asks."""

    command: Command
    actor: Principal


class Apart(Exception):
    """These calls cannot be done together; nothing is wrong with any of them alone."""


class Prepare(Protocol[Command, P_co]):
    """Reads and works out what each call needs. It locks and changes nothing, so that it may be done while others
    are at work. What a call is refused for is kept for `Many` to answer. It may take the calls' keys along."""

    async def __call__(
        self, session: Session, asking: Sequence[Asking[Command]], taking: Taking | None = None, /
    ) -> Sequence[P_co]: ...


class Many(Protocol[P_contra, R_co]):
    """Does each call that can be done, and answers for each. A call that is refused has changed nothing
    but names it had claimed; whatever else is raised means that all are to be undone."""

    async def __call__(
        self, session: Session, prepared: Sequence[P_contra], /, *, now: datetime
    ) -> Sequence[R_co | Refused]: ...


class Joint(Generic[Command, Prepared, Result]):
    """`prepare` and then `many` as a use case of its own; `joins` says which commands may be done with others'."""

    def __init__(
        self,
        prepare: Prepare[Command, Prepared],
        many: Many[Prepared, Result],
        *,
        joins: Callable[[Command], bool],
    ) -> None:
        self.prepare = prepare
        self.many = many
        self.joins = joins

    async def __call__(
        self, session: Session, command: Command, /, *, actor: Principal, now: datetime
    ) -> Result:
        prepared = await self.prepare(session, [Asking(command, actor)])
        (result,) = await self.many(session, prepared, now=now)
        if isinstance(result, Refused):
            raise result
        return result
