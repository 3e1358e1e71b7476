"""Payment providers: a small protocol, and those that come with us."""

from app.providers.protocol import PaymentProvider, ProviderRequest, ProviderResult
from app.providers.registry import close, load

__all__ = ["PaymentProvider", "ProviderRequest", "ProviderResult", "close", "load"]
