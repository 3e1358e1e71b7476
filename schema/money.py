"""Money that callers send with its currency."""

from __future__ import annotations

from decimal import Decimal

import strawberry

from domain.money import Money as Amount
from domain.money import require_currency
from schema.amounts import minor_units


@strawberry.input(description="An amount of money.")
class MoneyInput:
    amount: Decimal = strawberry.field(
        description='Major units, as text: "12.50". No more decimals than the currency has.'
    )
    currency_code: str = strawberry.field(description='ISO 4217, such as "EUR".')

    def to_money(self, *at: str) -> Amount:
        """Refused(InvalidInput) for an unknown currency or too many decimals."""
        currency = require_currency(self.currency_code, field=(*at, "currencyCode"))
        return Amount(minor_units(self.amount, currency, *at, "amount"), currency)
