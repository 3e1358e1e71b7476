"""Orders that are placed at the same time share transactions, and nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from db.audit import AuditEntry
from db.channels import ExternalId as ExternalIdRow
from db.engine import Engine
from db.idempotency import IdempotencyKey
from db.orders import Order
from db.session import Session
from domain.errors import AlreadyExists, Busy, InsufficientStock, NotFound, Refused
from domain.order_commands import ExternalId, PlaceLine, PlaceOrder
from services import group_commit, promises
from services.audit import Call
from services.idempotency import Taking
from services.placement import place_order
from services.reservations import ReserveLine, ReserveStock, reserve_stock
from services.unit_of_work import Key, UnitOfWork
from tests.invariants import assert_invariants
from tests.live.clients import until
from tests.world import EXTERNAL, World, make_world


class Intake:
    """One process's intake: what is sent, and in how many transactions."""

    def __init__(self, world: World, engine: Engine) -> None:
        self.world = world
        self.unit_of_work = UnitOfWork(engine)
        self.commits = 0
        engine.on_statement(self._count)

    def _count(self, logged: Any) -> None:
        self.commits += logged.query == "COMMIT"

    def order(self, *lines: tuple[str, int], **more: Any) -> PlaceOrder:
        return PlaceOrder(
            channel_id=self.world.channel_id,
            lines=tuple(PlaceLine(sku=sku, quantity=quantity, unit_price=1000) for sku, quantity in lines),
            payment=EXTERNAL,
            **more,
        )

    async def place(
        self, orders: Sequence[PlaceOrder], keys: Sequence[str] | None = None
    ) -> list[UUID | Refused]:
        """All at once; each order's answer."""
        answers = await asyncio.gather(
            *(
                self.unit_of_work.run(
                    place_order,
                    order,
                    actor=self.world.partner,
                    key=Key.of(f"key-{number}" if keys is None else keys[number], str(order)),
                    call=Call("orderPlace"),
                )
                for number, order in enumerate(orders)
            ),
            return_exceptions=True,
        )
        assert all(isinstance(answer, UUID | Refused) for answer in answers), answers
        return answers  # type: ignore[return-value] # as was just asserted

    async def count(self, table: Any) -> int:
        return int((await self.world.one(sa.select(sa.func.count()).select_from(table)))[0])


async def intake(engine: Engine, stock: dict[str, int], **more: Any) -> Intake:
    return Intake(await make_world(engine, stock, **more), engine)


async def test_many_orders_take_few_transactions_and_each_keeps_its_key_and_its_row_in_the_audit(
    engine: Engine,
) -> None:
    shop = await intake(engine, {"a": 100, "b": 100})
    placed = await shop.place([shop.order(("a", 1), ("b", 2)) for _ in range(20)])
    assert len(set(placed)) == 20
    await asyncio.sleep(0)
    assert shop.commits < 10  # those of its counting included
    assert (await shop.count(IdempotencyKey), await shop.count(AuditEntry)) == (20, 20)
    again = await shop.place([shop.order(("a", 1), ("b", 2)) for _ in range(20)])
    assert again == placed
    assert await shop.count(Order) == 20
    await assert_invariants(engine)


async def test_what_one_is_refused_for_touches_no_other_and_leaves_nothing(engine: Engine) -> None:
    shop = await intake(engine, {"a": 3, "b": 100})
    answers = await shop.place(
        [
            *(
                shop.order(("a", 1), ("b", 1), external_ids=(ExternalId(system="erp", id=f"E-{number}"),))
                for number in range(8)
            ),
            shop.order(("nothing", 1)),
            shop.order(("b", 1), customer_id=shop.world.channel_id),
        ]
    )
    refused = [answer.errors[0] for answer in answers if isinstance(answer, Refused)]
    assert Counter(map(type, refused)) == {InsufficientStock: 5, NotFound: 2}
    assert await shop.count(Order) == 3
    # A refused order's key is free again, and so is its name.
    assert await shop.count(IdempotencyKey) == 3
    names = await shop.world.all(sa.select(ExternalIdRow.external_id).where(ExternalIdRow.system == "erp"))
    assert len(names) == 3
    assert (await shop.world.level("b")).allocated == 3
    await assert_invariants(engine)


async def test_orders_that_stand_in_each_others_way_are_decided_one_by_one(engine: Engine) -> None:
    shop = await intake(engine, {"a": 100})
    name = (ExternalId(system="erp", id="E-1"),)
    answers = await shop.place(
        [
            shop.order(("a", 1), external_ids=name),
            shop.order(("a", 2), external_ids=name),
            shop.order(("a", 4), number="N-1"),
            shop.order(("a", 8), number="N-1"),
            shop.order(("a", 16)),
        ]
    )
    refused = [answer.errors[0] for answer in answers if isinstance(answer, Refused)]
    assert list(map(type, refused)) == [AlreadyExists, AlreadyExists]
    assert await shop.count(Order) == 3
    await assert_invariants(engine)


async def test_one_key_sent_many_times_at_once_is_one_order(engine: Engine) -> None:
    shop = await intake(engine, {"a": 100})
    answers = await shop.place([shop.order(("a", 1))] * 12, keys=["same"] * 12)
    assert len(set(answers)) == 1
    assert (await shop.world.level("a")).allocated == 1
    await assert_invariants(engine)


async def test_a_rival_that_holds_one_key_delays_nobody_else_for_long(engine: Engine) -> None:
    shop = await intake(engine, {"a": 100})
    async with engine.connect() as session:
        await session.execute(
            sa.insert(IdempotencyKey).values(account=shop.world.partner.account, key="held", fingerprint=b"")
        )
        orders = [shop.order(("a", 1)) for _ in range(4)]
        placing = asyncio.ensure_future(shop.place(orders, keys=["held", "k1", "k2", "k3"]))
        async with asyncio.timeout(3):
            while await shop.count(Order) < 3:  # noqa: ASYNC110 - nothing here is told of it
                await asyncio.sleep(0.05)
        assert not placing.done()
    answers = await placing
    assert all(isinstance(answer, UUID) for answer in answers)
    await assert_invariants(engine)


async def test_backorders_and_reservations_are_kept_beside_each_other(engine: Engine) -> None:
    shop = await intake(engine, {"a": 5, "none": 0}, backorderable=frozenset({"a", "none"}))
    reservation_id = await shop.world.run(
        reserve_stock,
        ReserveStock(channel_id=shop.world.channel_id, lines=(ReserveLine(sku="a", quantity=2),), minutes=10),
    )
    answers = await shop.place(
        [shop.order(("a", 2), reservation_id=reservation_id)]
        + [shop.order(("a", 1), ("none", 1)) for _ in range(6)]
    )
    assert all(isinstance(answer, UUID) for answer in answers)
    level = await shop.world.level("a")
    assert (level.allocated, level.reserved, level.backordered) == (5, 0, 3)
    assert (await shop.world.level("none")).backordered == 6
    await assert_invariants(engine)


async def test_while_a_group_writes_the_next_takes_its_keys_and_reads_what_it_needs(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await intake(engine, {"a": 100})
    flush, free = Session.flush, Taking.free
    writing, gathered = asyncio.Event(), asyncio.Event()

    async def slow(session: Session) -> None:
        if session._gathered and not writing.is_set():
            writing.set()
            async with asyncio.timeout(5):
                await gathered.wait()
        await flush(session)

    async def noted(*taking: Any) -> Any:
        taken = await free(*taking)
        if writing.is_set():
            gathered.set()
        return taken

    monkeypatch.setattr(group_commit, "HELD_UP_SECONDS", 10)
    monkeypatch.setattr(Session, "flush", slow)
    monkeypatch.setattr(Taking, "free", noted)
    first = asyncio.ensure_future(shop.place([shop.order(("a", 1))], keys=["first"]))
    await writing.wait()
    second = await shop.place([shop.order(("a", 1)) for _ in range(5)])
    assert len({*second, *await first}) == 6
    await assert_invariants(engine)


async def test_many_that_come_at_once_share_two_transactions_beside_each_other(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await intake(engine, {f"sku-{number}": 100 for number in range(16)})
    lock_supply = promises.lock_supply
    both, groups = asyncio.Barrier(2), 0

    async def meet(*asking: Any) -> Any:
        nonlocal groups
        groups += 1
        async with asyncio.timeout(5):
            await both.wait()
        return await lock_supply(*asking)

    monkeypatch.setattr(group_commit, "HELD_UP_SECONDS", 10)
    monkeypatch.setattr(promises, "lock_supply", meet)
    placed = await shop.place([shop.order((f"sku-{number}", 1)) for number in range(16)])
    assert len({answer for answer in placed if isinstance(answer, UUID)}) == 16
    assert groups == 2
    await assert_invariants(engine)


async def test_a_group_whose_connection_hangs_keeps_nobody_for_long(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await intake(engine, {"a": 100})
    begin, hanging, answering = Session.open, asyncio.Event(), asyncio.Event()

    async def hang(session: Session) -> None:
        if not hanging.is_set():
            hanging.set()
            await answering.wait()
        await begin(session)

    monkeypatch.setattr(Session, "open", hang)
    first = asyncio.ensure_future(shop.place([shop.order(("a", 1))], keys=["first"]))
    await hanging.wait()
    async with asyncio.timeout(5):
        others = await shop.place([shop.order(("a", 1)) for _ in range(3)])
    answering.set()
    assert len({answer for answer in (*others, *await first) if isinstance(answer, UUID)}) == 4
    await assert_invariants(engine)


async def test_groups_that_give_way_at_once_leave_no_connection_behind(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await intake(engine, {"a": 100})
    monkeypatch.setattr(group_commit, "HELD_UP_SECONDS", 0)
    for number in range(5):
        placed = await shop.place(
            [shop.order(("a", 1)) for _ in range(12)], keys=[f"{number}-{order}" for order in range(12)]
        )
        assert all(isinstance(answer, UUID) for answer in placed)
    async with asyncio.timeout(5):
        while len(engine._pool._idle) < engine._pool._count:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    await assert_invariants(engine)


async def test_a_group_that_fails_takes_none_of_those_along_that_wait(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await intake(engine, {"a": 100})
    lock_supply = promises.lock_supply
    failing, locked = asyncio.Event(), 0

    async def lose(*asking: Any) -> Any:
        nonlocal locked
        locked += 1
        if locked > 1:
            return await lock_supply(*asking)
        await failing.wait()
        raise ConnectionResetError("the connection is gone")

    monkeypatch.setattr(group_commit, "HELD_UP_SECONDS", 10)
    monkeypatch.setattr(promises, "lock_supply", lose)
    first = asyncio.ensure_future(shop.place([shop.order(("a", 1))], keys=["first"]))
    await until(lambda: locked)
    asyncio.get_running_loop().call_later(0.05, failing.set)
    others = await shop.place([shop.order(("a", 1)) for _ in range(6)])
    assert len({answer for answer in (*await first, *others) if isinstance(answer, UUID)}) == 7
    assert locked == 3  # the first again, alone, and the others together


async def test_calls_that_no_connection_can_be_had_for_are_told_so(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await intake(engine, {"a": 100})
    monkeypatch.setattr(engine._pool, "_acquire_timeout", 0.2)
    held = [await engine._pool.take() for _ in range(engine._pool.size)]
    answers = await shop.place([shop.order(("a", 1)) for _ in range(3)])
    assert all(isinstance(answer, Refused) and isinstance(answer.errors[0], Busy) for answer in answers)
    for connection in held:
        engine._pool.give_back(connection, healthy=True)
    assert all(isinstance(answer, UUID) for answer in await shop.place([shop.order(("a", 1))] * 3))


async def test_a_group_that_is_lost_while_it_gathers_is_placed_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await intake(engine, {"a": 100})
    free = Taking.free
    lost = 0

    async def lose(*taking: Any) -> Any:
        nonlocal lost
        taken = await free(*taking)
        lost += 1
        if lost in (1, 2):
            raise ConnectionResetError("the connection is gone")
        return taken

    monkeypatch.setattr(Taking, "free", lose)
    answers = await shop.place([shop.order(("a", 1)) for _ in range(8)])
    assert len(set(answers)) == 8
    assert all(isinstance(answer, UUID) for answer in answers)
    assert (await shop.world.level("a")).allocated == 8
    await assert_invariants(engine)


@pytest.mark.parametrize("fault", ["before the COMMIT", "after it"])
async def test_a_group_whose_connection_is_lost_is_placed_once(
    engine: Engine, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await intake(engine, {"a": 100})
    commit = Session.commit
    cut = False

    async def lose(session: Session) -> None:
        nonlocal cut
        first, cut = not cut, True
        if fault == "after it" or not first:
            await commit(session)
        if first:
            raise ConnectionResetError("the connection is gone")

    monkeypatch.setattr(Session, "commit", lose)
    answers = await shop.place([shop.order(("a", 1)) for _ in range(8)])
    assert len(set(answers)) == 8
    assert all(isinstance(answer, UUID) for answer in answers)
    monkeypatch.undo()
    assert (await shop.world.level("a")).allocated == 8
    await assert_invariants(engine)
