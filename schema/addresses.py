"""Postal addresses: kept as a snapshot on what was sent, so that a later move rewrites no history."""

from __future__ import annotations

import strawberry

from domain.order_commands import Address as StoredAddress
from schema.plan import value_type


@value_type(description="A postal address, as it was when it was given.")
class Address:
    name: str | None = None
    company: str | None = None
    line1: str | None = None
    line2: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str | None = strawberry.field(default=None, description="In words, where no code is known.")
    country_code: str | None = strawberry.field(default=None, description="ISO 3166-1 alpha-2.")
    phone: str | None = None


@strawberry.input(description="A postal address; every part is optional, at most 200 characters each.")
class AddressInput:
    name: str | None = None
    company: str | None = None
    line1: str | None = None
    line2: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str | None = strawberry.field(default=None, description="In words, where no code is known.")
    country_code: str | None = strawberry.field(default=None, description="ISO 3166-1 alpha-2.")
    phone: str | None = None

    def to_address(self) -> StoredAddress:
        return StoredAddress(
            name=self.name,
            company=self.company,
            line1=self.line1,
            line2=self.line2,
            city=self.city,
            region=self.region,
            postal_code=self.postal_code,
            country=self.country,
            country_code=self.country_code,
            phone=self.phone,
        )
