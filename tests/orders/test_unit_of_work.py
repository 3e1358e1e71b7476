"""The unit of work under rivals, lost connections and impatient callers."""

from __future__ import annotations

import asyncio
from datetime import datetime

import asyncpg
import pytest
import sqlalchemy as sa

from db.engine import Engine, Session, create_write_engine
from db.idempotency import IdempotencyKey
from db.orders import Order
from domain.access import Principal
from domain.errors import Busy, IdempotencyInProgress, Refused
from domain.order_commands import CancelOrder
from services.order_cancellation import cancel_order
from services.unit_of_work import Key, UnitOfWork
from tests.world import STAFF, make_world


async def answer(session: Session, command: str, /, *, actor: Principal, now: datetime) -> str:
    await session.execute(sa.text("select 1"))
    return command


async def test_a_lock_that_is_not_had_in_time_is_said_and_changes_nothing(engine: Engine) -> None:
    world = await make_world(engine, {"a": 5})
    order_id = await world.place(("a", 1))
    async with engine.begin() as rival:
        await rival.execute(sa.select(Order.id).where(Order.id == order_id).with_for_update())
        impatient = create_write_engine(_url(engine), lock_timeout_seconds=0.2)
        try:
            with pytest.raises(Refused) as refused:
                await UnitOfWork(impatient).run(cancel_order, CancelOrder(order_id=order_id), actor=STAFF)
        finally:
            await impatient.dispose()
    assert isinstance(refused.value.errors[0], Busy)
    assert (await world.order(order_id)).status == "CONFIRMED"


async def test_a_key_in_use_is_said_after_a_while(engine: Engine) -> None:
    key = Key.of("slow", "x")
    impatient = create_write_engine(_url(engine), lock_timeout_seconds=0.2)
    try:
        async with engine.begin() as rival:
            await rival.execute(
                sa.insert(IdempotencyKey).values(
                    account=STAFF.account, key="slow", fingerprint=key.fingerprint, finished_at=sa.func.now()
                )
            )
            with pytest.raises(Refused) as refused:
                await UnitOfWork(impatient).run(answer, "x", actor=STAFF, key=key)
    finally:
        await impatient.dispose()
    assert isinstance(refused.value.errors[0], IdempotencyInProgress)


def _url(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


async def test_a_connection_that_dies_under_a_use_case_is_replaced_and_the_work_done_once(
    engine: Engine,
) -> None:
    runs = 0

    async def dies_once(session: Session, command: str, /, *, actor: Principal, now: datetime) -> str:
        nonlocal runs
        runs += 1
        if runs == 1:
            own = (await session.execute(sa.text("select pg_backend_pid()"))).scalar_one()
            async with engine.connect() as other:
                await other.execute(sa.text("select pg_terminate_backend(:pid)"), {"pid": own})
        return await answer(session, command, actor=actor, now=now)

    assert await UnitOfWork(engine).run(dies_once, "done", actor=STAFF, key=Key.of("k", "x")) == "done"
    assert runs == 2
    assert await UnitOfWork(engine).run(dies_once, "done", actor=STAFF, key=Key.of("k", "x")) == "done"
    assert runs == 2


async def test_a_caller_that_stops_waiting_does_not_stop_the_work(engine: Engine) -> None:
    begun, finish = asyncio.Event(), asyncio.Event()

    async def waits(session: Session, command: str, /, *, actor: Principal, now: datetime) -> str:
        begun.set()
        await finish.wait()
        return await answer(session, command, actor=actor, now=now)

    unit_of_work = UnitOfWork(engine)
    call = asyncio.create_task(unit_of_work.run(waits, "done", actor=STAFF, key=Key.of("left", "x")))
    await begun.wait()
    call.cancel()
    finish.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await unit_of_work.run(answer, "again", actor=STAFF, key=Key.of("left", "x")) == "done"


@pytest.mark.parametrize("error", [asyncpg.DeadlockDetectedError, asyncpg.SerializationError])
async def test_a_deadlock_is_tried_again_and_never_reaches_the_caller(
    engine: Engine, error: type[Exception]
) -> None:
    runs = 0

    async def loses(session: Session, times: int, /, *, actor: Principal, now: datetime) -> str:
        nonlocal runs
        runs += 1
        if runs <= times:
            raise error("others were faster")
        return "done"

    assert await UnitOfWork(engine).run(loses, 3, actor=STAFF, key=Key.of("thrice", "x")) == "done"
    runs = 0
    with pytest.raises(Refused) as refused:
        await UnitOfWork(engine).run(loses, 4, actor=STAFF, key=Key.of("always", "x"))
    assert isinstance(refused.value.errors[0], Busy)
    assert runs == 4
    # Refused is refused: the key is free, and the same call may be sent again.
    assert await UnitOfWork(engine).run(loses, 0, actor=STAFF, key=Key.of("always", "x")) == "done"
