"""Group commit: calls of one use case that arrive while others are under way share a transaction.

A transaction costs much the same for one order as for ten: the BEGIN, the reads, the
statement that writes, the COMMIT. So a call that finds a transaction of its kind at work waits until
that commits, and goes with all that came meanwhile; one that finds none goes at once. While the last
statement of one is under way, the next one takes the keys of those that wait and reads what they need.
Many that wait share two transactions: while the database is at one's statement, we are at the other's.
Each call keeps its own key, its own answer and its own row in the audit. When anything
but a refusal stands against one, nothing of the group is kept and each is tried alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from db.engine import Engine, NoConnection, Session
from domain.errors import Refused
from services import audit, idempotency
from services.audit import Call
from services.idempotency import Held, Key, Taking
from services.joint import Apart, Asking, Joint

AT_ONCE = 5
"""Groups under way: two at work, one that gathers, the others at their COMMIT or held up."""

BESIDE = 6
"""Calls for which a second group goes to work beside one that is at it; fewer cost less when they wait."""

HELD_UP_SECONDS = 0.1
"""After which the next group no longer waits for one that is at work: it may wait for somebody else's lock."""

MOST = 32
"""Calls in one group."""

FEW = 8
"""Calls that are not shared out between two groups."""

MANY = 16
"""Calls in a group that others leave alone at its work: two as large would be in each other's way."""

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


@dataclass(slots=True, eq=False)
class _Group:
    """Calls that share a transaction."""

    members: list[_Member] = field(default_factory=list)
    prepared: list[tuple[_Member, Any]] = field(default_factory=list)
    """Those whose keys nobody has used, and what was read for them."""

    now: datetime | None = None
    called: bool = False
    """To its work; it takes calls in until then."""

    finishing: bool = False
    """Its last statement is under way."""

    woken: asyncio.Event = field(default_factory=asyncio.Event)


class GroupCommit:
    """Runs calls of `use_case` in groups."""

    def __init__(self, engine: Engine, use_case: Joint[Any, Any, Any], on_commit: Callable[[], None]) -> None:
        self._engine = engine
        self._use_case = use_case
        self._on_commit = on_commit
        self._waiting: list[_Member] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._at_work: list[_Group] = []
        self._gathering: _Group | None = None
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
        """See to it that one group gathers those that wait, and call it to its work when its turn has come."""
        self._woken = False
        group = self._gathering
        if group is None:
            if not self._waiting or len(self._under_way) == AT_ONCE:
                return
            group = _Group()
            if not self._has_turn(group) and not any(other.finishing for other in self._at_work):
                return
            self._gathering = group
            task = asyncio.create_task(self._settle(group))
            self._under_way.add(task)
            task.add_done_callback(self._ended)
        if not group.called and self._has_turn(group):
            group.called = True
            self._at_work.append(group)
            asyncio.get_running_loop().call_later(HELD_UP_SECONDS, self._give_way, group)
        group.woken.set()

    def _has_turn(self, group: _Group) -> bool:
        if not self._at_work:
            return True
        enough = len(group.members) + len(self._waiting) >= BESIDE
        return enough and len(self._at_work) == 1 and len(self._at_work[0].members) <= MANY

    def _give_way(self, group: _Group) -> None:
        """The group no longer keeps others from their work."""
        if group in self._at_work:
            self._at_work.remove(group)
            if self._gathering is group:  # held up: another may gather those that wait
                self._gathering = None
            self._next()

    def _gathered(self, group: _Group) -> None:
        """The group takes in nobody any more."""
        if self._gathering is group:
            self._gathering = None
            self._next()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._next()

    async def _settle(self, group: _Group) -> None:
        answers: dict[_Member, Any] = {}
        otherwise: Exception | None = None
        try:
            async with self._engine.begin(
                gathering=True, lock_timeout_seconds=LOCK_TIMEOUT_SECONDS
            ) as session:
                await session.open()  # who comes meanwhile is taken in
                await self._gather(session, group)
                made = await self._do(session, group)
                group.finishing = True
                self._next()
                await session.flush()
                self._give_way(group)
            answers = made
            self._on_commit()
        except NoConnection as error:
            otherwise = error
        except Exception:  # each will say by itself what is wrong with it
            otherwise = Apart()
        finally:
            if otherwise is not None and not group.members:
                group.members, self._waiting = self._waiting[:MOST], self._waiting[MOST:]  # it was for them
            self._gathered(group)
            self._give_way(group)
            for member in group.members:
                answer = answers.get(member, otherwise or Apart())
                if member.answer.done():
                    continue
                if isinstance(answer, Exception):
                    member.answer.set_exception(answer)
                else:
                    member.answer.set_result(answer)

    async def _gather(self, session: Session, group: _Group) -> None:
        """Take in and prepare those that wait until the group is called to its work."""
        while True:
            new = self._take_in(group) if self._gathering is group or not group.members else []
            if called := group.called:
                self._gathered(group)
            if new:
                await self._prepare(session, group, new)
            elif not called:
                group.woken.clear()
                await group.woken.wait()
            if called:
                return

    def _take_in(self, group: _Group) -> Sequence[_Member]:
        """Those that wait, as many as are the group's share, now members of it."""
        others = sum([len(other.members) for other in self._at_work if other is not group])
        everybody = len(self._waiting) + len(group.members) + others
        share = min(MOST, max(FEW, (everybody + 1) // 2))
        room = max(0, share - len(group.members))
        new, self._waiting = self._waiting[:room], self._waiting[room:]
        group.members += new
        return new

    async def _prepare(self, session: Session, group: _Group, new: Sequence[_Member]) -> None:
        first: dict[Held, _Member] = {}
        for member in new:
            first.setdefault(member.held, member)
        taking = Taking([(account, member.key) for (account, _), member in first.items()])
        asking = [member.asking for member in first.values()]
        prepared = await self._use_case.prepare(session, asking, taking)
        now, free = await taking.free(session)
        group.now = now or group.now
        ready = zip(first.items(), prepared, strict=True)
        group.prepared += [(member, done) for (held, member), done in ready if held in free]

    async def _do(self, session: Session, group: _Group) -> dict[_Member, Any]:
        """The answers of those that could be done together, whose keys nobody has used."""
        now = group.now
        if now is None or not group.prepared:
            return {}
        members = [member for member, _ in group.prepared]
        results = await self._use_case.many(session, [prepared for _, prepared in group.prepared], now=now)
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
