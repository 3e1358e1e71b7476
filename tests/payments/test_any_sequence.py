"""Whatever is asked and reported, in whatever order and however often: the books stay right."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.orders import OrderLine
from db.payments import Payment, PaymentTransaction
from domain.access import SYSTEM
from domain.errors import Refused
from domain.money import Money
from domain.order_commands import CancelOrder, CancelUnits, PaymentIntent
from domain.payment_commands import (
    CapturePayment,
    CreateRefund,
    RecordPayment,
    ReportPayment,
    RequestPayment,
    ResumePayment,
    VoidPayment,
)
from domain.payments import PaymentMethod, ReportKind
from services.expiry import ExpireAuthorization, ExpireOrder, expire_authorization, expire_order
from services.order_cancellation import cancel_order
from services.payment_reports import record_payment, report_payment
from services.payments import (
    capture_payment,
    request_payment,
    resume_payment,
    void_payment,
)
from services.refunds import create_refund
from services.transactions import Outcome, RecordResult, record_result
from tests.invariants import assert_invariants
from tests.payments.shop import Shop, open_shop

STEPS = 25


class Story:
    """One order, and a source of chance that does something to it."""

    def __init__(self, shop: Shop, seed: int) -> None:
        self.shop = shop
        self.chance = random.Random(seed)  # noqa: S311 - the same story for the same seed
        self.order_id = UUID(int=0)
        self.told: list[str] = []

    async def begin(self) -> None:
        self.order_id = await self.shop.order(self.method(), quantity=3)

    def method(self) -> PaymentMethod:
        return self.chance.choice(list(PaymentMethod))

    def amount(self) -> Money | None:
        return self.chance.choice([None, Money(self.chance.choice([1, 4_999, 5_000, 15_000, 20_000]), "EUR")])

    async def some(self, table: Any) -> UUID:
        found: UUID = self.chance.choice(await self.shop.rows(table, self.order_id)).id
        return found

    async def step(self) -> None:
        steps: list[Callable[[], Awaitable[tuple[Any, Any]]]] = [
            self.result,
            self.result,
            self.result,
            self.request,
            self.capture,
            self.void,
            self.refund,
            self.record,
            self.report,
            self.resume,
            self.cancel,
            self.expire,
            self.expire_authorization,
        ]
        use_case, command = await self.chance.choice(steps)()
        self.told.append(repr(command))
        for _ in range(self.chance.choice([1, 1, 2])):
            try:
                await self.shop.work.run(use_case, command, actor=SYSTEM)
            except Refused as refused:
                self.told.append(str(refused))

    async def result(self) -> tuple[Any, Any]:
        outcome = self.chance.choice([Outcome.SUCCEEDED, Outcome.SUCCEEDED, *Outcome])
        amount = self.chance.choice([None, None, None, 1, 15_001])
        expires_at = self.chance.choice([None, await self.shop.now()])
        return record_result, RecordResult(
            transaction_id=await self.some(PaymentTransaction),
            outcome=outcome,
            amount=amount,
            expires_at=expires_at,
        )

    async def request(self) -> tuple[Any, Any]:
        intent = PaymentIntent(method=self.method(), amount=self.chance.choice([None, 1, 5_000]))
        return request_payment, RequestPayment(order_id=self.order_id, intent=intent, currency="EUR")

    async def capture(self) -> tuple[Any, Any]:
        return capture_payment, CapturePayment(payment_id=await self.some(Payment), amount=self.amount())

    async def void(self) -> tuple[Any, Any]:
        return void_payment, VoidPayment(payment_id=await self.some(Payment))

    async def refund(self) -> tuple[Any, Any]:
        if self.chance.random() < 0.5:
            return create_refund, CreateRefund(order_id=self.order_id, amount=self.amount())
        return create_refund, CreateRefund(payment_id=await self.some(Payment), amount=self.amount())

    async def record(self) -> tuple[Any, Any]:
        reference = self.chance.choice([None, "stmt-1", "stmt-2"])
        amount = self.amount() or Money(7_500, "EUR")
        payment_id = await self.some(Payment)
        return record_payment, RecordPayment(payment_id=payment_id, amount=amount, reference=reference)

    async def report(self) -> tuple[Any, Any]:
        return report_payment, ReportPayment(
            payment_id=await self.some(Payment),
            kind=self.chance.choice(list(ReportKind)),
            reference=self.chance.choice(["a", "b", "c"]),
            succeeded=self.chance.random() < 0.8,
            amount=self.amount(),
        )

    async def resume(self) -> tuple[Any, Any]:
        return resume_payment, ResumePayment(payment_id=await self.some(Payment), answer="approve")

    async def cancel(self) -> tuple[Any, Any]:
        lines: tuple[CancelUnits, ...] = ()
        if self.chance.random() < 0.7:
            lines = (CancelUnits(line_id=await self.some(OrderLine), quantity=1),)
        return cancel_order, CancelOrder(order_id=self.order_id, lines=lines)

    async def expire(self) -> tuple[Any, Any]:
        if self.chance.random() < 0.3:
            await self.shop.overdue(self.order_id)
        return expire_order, ExpireOrder(order_id=self.order_id)

    async def expire_authorization(self) -> tuple[Any, Any]:
        return expire_authorization, ExpireAuthorization(payment_id=await self.some(Payment))


@pytest.mark.parametrize("seed", range(12))
async def test_any_sequence_of_requests_and_reports_keeps_every_invariant(
    engine: AsyncEngine, seed: int
) -> None:
    story = Story(await open_shop(engine), seed)
    await story.begin()
    for _ in range(STEPS):
        await story.step()
        try:
            await assert_invariants(engine)
        except AssertionError as broken:
            raise AssertionError("\n".join([str(broken), *story.told])) from None
