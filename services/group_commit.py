"""Group commit: calls of one use case that arrive while others are under way share a transaction.

A transaction costs much the same for one order as for ten: the BEGIN, the reads, the
statement that writes, the COMMIT. So a call that finds a transaction of its kind at work waits until
that commits, and goes with all that came meanwhile; one that finds none goes
at once. Each call keeps its own key, its own answer and its own row in the audit. When anything
but a refusal stands against one, nothing of the group is kept and each is tried alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from db.engine import Engine, NoConnection, Session
from domain.errors import Refused
from services import audit, idempotency
from services.audit import Call
from services.idempotency import Held, Key
from services.joint import Apart, Asking, Many

AT_ONCE = 4
"""Groups under way: one at work, the others at their COMMIT or held up."""

HELD_UP_SECONDS = 0.1
"""After which the next group no longer waits for one that is at work: it may wait for somebody else's lock."""

MOST = 32
"""Calls in one group."""

LOCK_TIMEOUT_SECONDS = 0.25
"""What a group waits for a row or a rival's key: then only the call that needs it waits on, alone."""


@dataclass(slots=True, eq=False)
class _Member:
    asking: Asking[Any]
    key: Key
    call: Call | None
    answer: asyncio.Future[Any]

    @property
    def held(self) -> Held:
        return self.asking.actor.account, self.key.key


class GroupCommit:
    """Runs calls of `many` in groups."""

    def __init__(self, engine: Engine, many: Many[Any, Any], on_commit: Callable[[], None]) -> None:
        self._engine = engine
        self._many = many
        self._on_commit = on_commit
        self._waiting: list[_Member] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._at_work: object | None = None
        self._woken = False

    async def run(self, asking: Asking[Any], key: Key, call: Call | None) -> Any:
        """The call's outcome, committed. Raises Refused, Apart when it is to be tried alone, or NoConnection."""
        loop = asyncio.get_running_loop()
        member = _Member(asking, key, call, loop.create_future())
        self._waiting.append(member)
        if not self._woken:
            self._woken = True
            loop.call_soon(self._next)  # what else this turn of the loop brings goes along
        return await member.answer

    def _next(self) -> None:
        self._woken = False
        if self._waiting and self._at_work is None and len(self._under_way) < AT_ONCE:
            group, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            self._at_work = turn = object()
            asyncio.get_running_loop().call_later(HELD_UP_SECONDS, self._give_way, turn)
            task = asyncio.create_task(self._settle(group, turn))
            self._under_way.add(task)
            task.add_done_callback(self._ended)

    def _give_way(self, turn: object) -> None:
        """The group whose turn this was no longer keeps the next from its work."""
        if self._at_work is turn:
            self._at_work = None
            self._next()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._next()

    async def _settle(self, group: Sequence[_Member], turn: object) -> None:
        answers: dict[_Member, Any] = {}
        otherwise: Exception = Apart()
        try:
            async with self._engine.begin(
                gathering=True, lock_timeout_seconds=LOCK_TIMEOUT_SECONDS
            ) as session:
                made = await self._do(session, group)
                await session.flush()
                self._give_way(turn)
            answers = made
            self._on_commit()
        except NoConnection as error:
            otherwise = error
        except Exception:  # each will say by itself what is wrong with it
            otherwise = Apart()
        finally:
            self._give_way(turn)
            for member in group:
                answer = answers.get(member, otherwise)
                if member.answer.done():
                    continue
                if isinstance(answer, Exception):
                    member.answer.set_exception(answer)
                else:
                    member.answer.set_result(answer)

    async def _do(self, session: Session, group: Sequence[_Member]) -> dict[_Member, Any]:
        """The answers of those that could be done together, whose keys nobody has used."""
        first: dict[Held, _Member] = {}
        for member in group:
            first.setdefault(member.held, member)
        now, free = await idempotency.take_all(
            session, [(account, member.key) for (account, _), member in first.items()]
        )
        members = [member for held, member in first.items() if held in free]
        if now is None:
            return {}
        results = await self._many(session, [member.asking for member in members], now=now)
        done = [
            (member, result)
            for member, result in zip(members, results, strict=True)
            if not isinstance(result, Refused)
        ]
        calls = [
            (member.call, member.asking.actor, result) for member, result in done if member.call is not None
        ]
        await audit.record(session, calls, now=now)
        await idempotency.finish(session, [(member.held, result) for member, result in done])
        refused = set(members) - {member for member, _ in done}
        await idempotency.let_go(session, [member.held for member in refused])
        return dict(zip(members, results, strict=True))
