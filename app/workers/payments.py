"""The job that asks a payment provider, and writes down what it answers.

The provider is asked outside any transaction. Killed at any line, the job leaves an
open transaction behind, which is asked about until its outcome is known; because
our transaction's id is the provider's key, asking twice has one effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog

from app.providers.protocol import PaymentProvider, ProviderRequest, ProviderResult
from db.engine import Engine
from db.orders import Order
from db.payments import Payment, PaymentTransaction
from domain.access import SYSTEM
from domain.payments import TransactionKind, TransactionStatus
from services.transactions import Outcome, RecordResult, record_result
from services.unit_of_work import Key, UnitOfWork

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 10.0
"""How long a provider may take to answer before its answer counts as lost."""

_ATTEMPT = (
    sa.update(PaymentTransaction)
    .where(
        PaymentTransaction.id == sa.bindparam("transaction_id", type_=sa.Uuid()),
        PaymentTransaction.status.in_((TransactionStatus.PENDING, TransactionStatus.UNKNOWN)),
        Payment.id == PaymentTransaction.payment_id,
        Order.id == PaymentTransaction.order_id,
    )
    # Not the order's business: a counter and a clock by which the next asking is timed.
    .values(attempts=PaymentTransaction.attempts + 1, updated_at=sa.func.now())
    .returning(
        PaymentTransaction.id,
        PaymentTransaction.payment_id,
        PaymentTransaction.kind,
        PaymentTransaction.amount,
        PaymentTransaction.currency,
        PaymentTransaction.attempts,
        Payment.method,
        Payment.provider,
        Payment.token,
        Payment.provider_reference,
        Order.number,
    )
)


class PaymentJobs:
    """Asks providers, by name, about transactions."""

    def __init__(
        self,
        engine: Engine,
        unit_of_work: UnitOfWork,
        providers: Mapping[str, PaymentProvider],
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._engine = engine
        self._unit_of_work = unit_of_work
        self._providers = providers
        self._timeout_seconds = timeout_seconds

    @property
    def askable(self) -> list[str]:
        """Providers whose open transactions are settled by asking."""
        return sorted(name for name, provider in self._providers.items() if provider.askable)

    async def run(self, transaction_id: UUID) -> None:
        """Ask for, or about, one transaction; a settled one is left alone."""
        async with self._engine.begin() as session:
            row: Any = (await session.execute(_ATTEMPT, {"transaction_id": transaction_id})).one_or_none()
        if row is None:
            return
        result = await self.ask(row)
        await self._record(row, result)

    async def ask(self, row: Any) -> ProviderResult:
        """The provider's answer. Whatever keeps it from us leaves the effect unknown."""
        provider = self._providers.get(row.provider)
        if provider is None:
            failure = f"No payment provider named {row.provider!r} is installed here."
            if row.attempts > 1:  # it may have been asked while it was installed
                log.warning("provider_not_installed", provider=row.provider, transaction=str(row.id))
                return ProviderResult(outcome=Outcome.UNKNOWN)
            return ProviderResult(outcome=Outcome.FAILED, failure=failure)
        request = ProviderRequest(
            transaction_id=row.id,
            payment_id=row.payment_id,
            method=row.method,
            amount=row.amount,
            currency=row.currency,
            order_number=row.number,
            at_once=row.kind is TransactionKind.SALE,
            token=row.token,
            provider_reference=row.provider_reference,
        )
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if row.attempts > 1:
                    known = await provider.status(request)
                    if known is not None:
                        return known
                return await _operation(provider, row.kind)(request)
        except (TimeoutError, OSError) as error:
            log.warning(
                "provider_did_not_answer", provider=row.provider, transaction=str(row.id), why=str(error)
            )
        except Exception:
            # A fault of the adapter says nothing about what the provider has done.
            log.exception("provider_failed", provider=row.provider, transaction=str(row.id))
        return ProviderResult(outcome=Outcome.UNKNOWN)

    async def _record(self, row: Any, result: ProviderResult) -> None:
        command = RecordResult(
            transaction_id=row.id,
            outcome=result.outcome,
            amount=result.amount,
            provider_reference=result.provider_reference,
            instructions=result.instructions,
            expires_at=result.expires_at,
            failure=result.failure,
        )
        # Attempts are counted in the database, so no two carry one number.
        key = Key.of(f"job:{row.id}:{row.attempts}", "record_result", str(row.id), result.outcome)
        await self._unit_of_work.run(record_result, command, actor=SYSTEM, key=key)


def _operation(
    provider: PaymentProvider, kind: TransactionKind
) -> Callable[[ProviderRequest], Awaitable[ProviderResult]]:
    match kind:
        case TransactionKind.AUTHORIZATION | TransactionKind.SALE:
            return provider.authorize
        case TransactionKind.CAPTURE:
            return provider.capture
        case TransactionKind.VOID:
            return provider.void
        case TransactionKind.REFUND:
            return provider.refund
        case TransactionKind.CHARGEBACK:
            raise ValueError("a chargeback is only ever reported")
