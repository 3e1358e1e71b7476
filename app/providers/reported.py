"""Providers that nobody can call: people, or a marketplace, report what happened."""

from __future__ import annotations

from app.providers.protocol import ProviderRequest, ProviderResult
from app.settings import Settings
from domain.money import format_amount
from domain.payments import PaymentMethod
from services.transactions import Outcome

_WAITING = ProviderResult(outcome=Outcome.PENDING)
_DONE = ProviderResult(outcome=Outcome.SUCCEEDED)


class ManualProvider:
    """Transfers, cash, invoices, cash on delivery: staff and partners record the money by hand."""

    askable = False

    async def authorize(self, request: ProviderRequest, /) -> ProviderResult:
        """A transfer needs the customer, who is told what to transfer; the others just wait."""
        if request.method is not PaymentMethod.BANK_TRANSFER:
            return _WAITING
        instructions = {
            "kind": "BANK_TRANSFER",
            "reference": request.order_number,
            "amount": format_amount(request.amount, request.currency),
            "currencyCode": request.currency,
        }
        return ProviderResult(outcome=Outcome.ACTION_REQUIRED, instructions=instructions)

    async def capture(self, request: ProviderRequest, /) -> ProviderResult:
        return _WAITING

    async def void(self, request: ProviderRequest, /) -> ProviderResult:
        return _DONE

    async def refund(self, request: ProviderRequest, /) -> ProviderResult:
        return _WAITING

    async def status(self, request: ProviderRequest, /) -> ProviderResult | None:
        return None

    async def close(self) -> None: ...


class ExternalProvider(ManualProvider):
    """A marketplace collected the money before it sent us the order; it refunds, and reports both."""

    async def authorize(self, request: ProviderRequest, /) -> ProviderResult:
        return _WAITING


def manual(settings: Settings) -> ManualProvider:
    return ManualProvider()


def external(settings: Settings) -> ExternalProvider:
    return ExternalProvider()
