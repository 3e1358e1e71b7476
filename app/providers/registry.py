"""Finding the payment providers that are installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import entry_points

from app.providers.protocol import PaymentProvider
from app.settings import Settings

GROUP = "maestro_oms.payment_providers"

Factory = Callable[[Settings], PaymentProvider | None]
"""Makes a provider from the settings; None when it is not to be used with these."""


def load(settings: Settings) -> dict[str, PaymentProvider]:
    """Every installed provider by the name payments call it by."""
    providers: dict[str, PaymentProvider] = {}
    for entry_point in entry_points(group=GROUP):
        factory: Factory = entry_point.load()
        provider = factory(settings)
        if provider is not None:
            providers[entry_point.name] = provider
    return providers


async def close(providers: Iterable[PaymentProvider]) -> None:
    for provider in providers:
        await provider.close()
