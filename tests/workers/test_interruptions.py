"""Workers that are killed, cut off or rivalled: nothing is lost and nothing is done twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.providers.sandbox import SandboxProvider
from app.workers import queue
from app.workers.payments import PaymentJobs
from db.base import new_id
from db.engine import Session
from db.events import Consumer
from db.orders import Order
from db.payments import Payment, PaymentTransaction
from domain.access import SYSTEM
from domain.order_commands import CancelOrder
from domain.payments import PaymentState, TransactionStatus
from services import relay
from services.consumers import CONSUMER, Job, JobKind, consume
from services.order_cancellation import cancel_order
from services.unit_of_work import UnitOfWork
from tests.payments.shop import Shop
from tests.workers.conftest import Background, Waits
from tests.workers.test_sandbox_life import operations, settled


async def relayed(engine: AsyncEngine) -> None:
    async with engine.begin() as session:
        await relay.move(session)


async def test_a_worker_killed_between_the_call_and_the_record_has_one_effect(
    shop: Shop, sandbox: SandboxProvider, background: Background, eventually: Waits
) -> None:
    await background.stop()
    order_id = await shop.order()
    (transaction,) = await shop.rows(PaymentTransaction, order_id)

    class Killed(UnitOfWork):
        async def run(self, *_: object, **__: object) -> None:  # type: ignore[override]
            raise asyncio.CancelledError

    jobs = PaymentJobs(shop.engine, Killed(shop.engine), {"sandbox": sandbox})
    with pytest.raises(asyncio.CancelledError):
        await jobs.run(transaction.id)
    assert await operations(shop) == [("AUTHORIZATION", "SUCCEEDED", 10_000)]
    assert await shop.transactions(order_id) == [("AUTHORIZATION", "PENDING", 10_000)]
    await background.start()
    await eventually(lambda: settled(shop, order_id, PaymentState.AUTHORIZED))
    assert await operations(shop) == [("AUTHORIZATION", "SUCCEEDED", 10_000)]
    assert (await shop.rows(PaymentTransaction, order_id))[0].attempts == 2


async def test_a_provider_that_was_asked_and_is_not_installed_any_more_leaves_the_outcome_unknown(
    shop: Shop, sandbox: SandboxProvider, background: Background, eventually: Waits
) -> None:
    await background.stop()
    order_id = await shop.order()
    (transaction,) = await shop.rows(PaymentTransaction, order_id)

    class Killed(UnitOfWork):
        async def run(self, *_: object, **__: object) -> None:  # type: ignore[override]
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await PaymentJobs(shop.engine, Killed(shop.engine), {"sandbox": sandbox}).run(transaction.id)
    await PaymentJobs(shop.engine, UnitOfWork(shop.engine), {}).run(transaction.id)
    assert await shop.transactions(order_id) == [("AUTHORIZATION", "UNKNOWN", 10_000)]
    await background.start()
    await eventually(lambda: settled(shop, order_id, PaymentState.AUTHORIZED))
    assert await operations(shop) == [("AUTHORIZATION", "SUCCEEDED", 10_000)]


async def test_a_job_that_was_lost_is_made_up_for_by_asking(
    shop: Shop, background: Background, eventually: Waits
) -> None:
    await background.stop()
    order_id = await shop.order()
    await relayed(shop.engine)

    async def lose(session: Session, jobs: Sequence[Job]) -> None:
        assert [job.kind for job in jobs] == [JobKind.PAYMENT_TRANSACTION]

    async with shop.engine.begin() as session:
        await consume(session, lose)
    async with shop.engine.begin() as session:
        await consume(session, lose)
    await background.start()
    await eventually(lambda: settled(shop, order_id, PaymentState.AUTHORIZED))


async def test_two_readers_of_the_log_make_each_job_once(shop: Shop) -> None:
    orders = [await shop.order(quantity=1) for _ in range(20)]
    await relayed(shop.engine)
    async with shop.engine.begin() as session:
        await session.execute(sa.insert(Consumer).values(name=CONSUMER))

    async def read() -> None:
        for _ in range(200):
            async with shop.engine.begin() as session:
                await consume(session, queue.enqueue, limit=3)

    await asyncio.gather(read(), read(), read())
    async with shop.engine.connect() as session:
        made = (await session.execute(sa.text("select dedupe_key from pgqueuer.pgqueuer"))).scalars().all()
    assert len(made) == len(set(made)) == len(orders)


async def test_jobs_of_a_transaction_that_is_rolled_back_do_not_exist(shop: Shop) -> None:
    job = Job(JobKind.BACKORDERS, new_id(), "once")
    async with shop.engine.connect() as session:
        await session.execute(sa.select(1))
        await queue.enqueue(session, [job])
        await session.rollback()
    async with shop.engine.begin() as session:
        assert (await session.execute(sa.text("select count(*) from pgqueuer.pgqueuer"))).scalar_one() == 0


async def test_the_queue_can_be_installed_again_and_by_two_at_once(
    engine: AsyncEngine, database_url: str
) -> None:
    await asyncio.gather(queue.install_at(database_url), queue.install_at(database_url))
    await queue.install_at(database_url)
    async with engine.connect() as session:
        found = await session.execute(sa.text("select count(*) from pgqueuer.pgqueuer"))
        assert found.scalar_one() == 0


async def test_workers_whose_connections_are_cut_go_on(
    shop: Shop, background: Background, eventually: Waits
) -> None:
    before = await shop.order(quantity=1)
    await eventually(lambda: settled(shop, before, PaymentState.AUTHORIZED))
    for _ in range(3):
        await shop.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
        )
        await asyncio.sleep(0.1)
    await shop.engine.dispose()
    after = await shop.order(quantity=1)
    await eventually(lambda: settled(shop, after, PaymentState.AUTHORIZED))
    assert len(await operations(shop)) == 2


WORKER = """
import asyncio, sys
from pydantic import SecretStr
from app.settings import Settings
from app.workers import run_worker
asyncio.run(run_worker(Settings(database_url=SecretStr(sys.argv[1]), log_level="error")))
"""


@pytest.mark.parametrize("kills", [3])
async def test_worker_processes_that_are_killed_at_any_line_lose_and_double_nothing(
    shop: Shop, database_url: str, eventually: Waits, kills: int
) -> None:
    """Orders are placed and cancelled while two worker processes are killed again and again."""
    randomness = random.Random(7)  # noqa: S311 - when to kill, the same each time
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}

    async def worker() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, database_url, env=environment
        )

    workers = [await worker(), await worker()]
    orders = []
    try:
        for _ in range(kills):
            for token in ("4242424242424242", "4000000000000341", "4000000000000002", "4000000000000275"):
                orders.append(await shop.order(token=token, quantity=1))
            await asyncio.sleep(randomness.uniform(1.0, 2.5))
            for order_id in orders[::2]:
                if (await shop.the_order(order_id)).status.value in ("PENDING", "CONFIRMED"):
                    await shop.work.run(cancel_order, CancelOrder(order_id=order_id), actor=SYSTEM)
            victim = workers.pop(0)
            victim.send_signal(signal.SIGKILL)
            await victim.wait()
            workers.append(await worker())
        await eventually(lambda: nothing_open(shop), 60)
    finally:
        for running in workers:
            running.terminate()
        codes = [await running.wait() for running in workers]
    assert set(codes) <= {0, -signal.SIGTERM}, codes  # the last one may not have begun to listen yet
    async with shop.engine.connect() as session:
        ours = await session.execute(
            sa.text("select id, kind, amount from payment_transaction where status = 'SUCCEEDED' order by id")
        )
        theirs = await session.execute(
            sa.text(
                "select transaction_id, kind, amount from sandbox.operation "
                "where outcome = 'SUCCEEDED' order by transaction_id"
            )
        )
        assert [tuple(row) for row in ours] == [tuple(row) for row in theirs]
        held = await session.execute(
            sa.select(sa.func.count())
            .select_from(Payment)
            .join(Order, Order.id == Payment.order_id)
            .where(Order.cancelled_at.is_not(None), Payment.authorized_amount > Payment.voided_amount)
        )
        assert held.scalar_one() == 0


async def nothing_open(shop: Shop) -> None:
    async with shop.engine.connect() as session:
        statement = sa.select(sa.func.count()).where(
            PaymentTransaction.status.in_((TransactionStatus.PENDING, TransactionStatus.UNKNOWN))
        )
        assert (await session.execute(statement)).scalar_one() == 0
