"""The domain's enumerations as GraphQL enums: their names and values are one and the same.

Importing this module registers them; annotations elsewhere name the domain's own classes.
"""

from __future__ import annotations

import inspect
from enum import StrEnum

import strawberry

from domain import (
    access,
    audit,
    discrepancies,
    events,
    fulfillment,
    invoices,
    orders,
    payments,
    reservations,
    returns,
    revocations,
    shipments,
    stock,
    transfers,
)

MODULES = (
    access,
    audit,
    discrepancies,
    events,
    fulfillment,
    invoices,
    orders,
    payments,
    reservations,
    returns,
    revocations,
    shipments,
    stock,
    transfers,
)


def _register() -> dict[str, type[StrEnum]]:
    found: dict[str, type[StrEnum]] = {}
    for module in MODULES:
        for name, member in vars(module).items():
            if (
                isinstance(member, type)
                and issubclass(member, StrEnum)
                and member.__module__ == module.__name__
            ):
                own = vars(member).get("__doc__")  # an enumeration without one inherits StrEnum's
                description = inspect.cleandoc(own) if own and own != StrEnum.__doc__ else None
                found[name] = strawberry.enum(member, description=description)
    return found


ENUMS = _register()
"""Every enumeration by its GraphQL name."""
