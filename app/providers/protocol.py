"""What a payment provider is to us: five questions, each answered with a result.

To add one, write a class with these methods and name a function that makes it from
the settings under the entry point group `maestro_oms.payment_providers`. The entry
point's name is what payments call it by.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from domain.payments import PaymentMethod
from services.transactions import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRequest:
    """One of our transactions, as a provider is told of it.

    `transaction_id` is the provider's idempotency key: the same id asked for twice
    must have one effect and one answer. `amount` is in minor units of `currency`.
    `at_once` asks for the money in one step, without a capture later. `token` is
    what the shop got from the provider's page; after the customer has acted, what it
    sent back.
    """

    transaction_id: UUID
    payment_id: UUID
    method: PaymentMethod
    amount: int
    currency: str
    order_number: str
    at_once: bool = False
    token: str | None = None
    provider_reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderResult:
    """What became of a request. `amount` only where it is not what was asked for."""

    outcome: Outcome
    amount: int | None = None
    provider_reference: str | None = None
    instructions: dict[str, Any] | None = None
    expires_at: datetime | None = None
    failure: str | None = None


class PaymentProvider(Protocol):
    """A payment provider. A lost connection or a timeout is raised as such: the effect is then unknown."""

    askable: bool
    """Whether `status` can settle a transaction; if not, somebody reports what happened."""

    async def authorize(self, request: ProviderRequest, /) -> ProviderResult: ...

    async def capture(self, request: ProviderRequest, /) -> ProviderResult: ...

    async def void(self, request: ProviderRequest, /) -> ProviderResult: ...

    async def refund(self, request: ProviderRequest, /) -> ProviderResult: ...

    async def status(self, request: ProviderRequest, /) -> ProviderResult | None:
        """What became of this transaction; None when the provider never heard of it."""

    async def close(self) -> None: ...
