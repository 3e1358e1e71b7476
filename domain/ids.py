"""Global ids: `ord_0198c0de-…`, a prefix that says what it names and a UUID.

A prefix is three letters; the rest is the canonical, lower-case form of the
UUID, so that every entity has exactly one id text.
"""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from domain.errors import InvalidInput, Refused


class Prefix(StrEnum):
    """What an id names. Unlike other enumerations its values are not its names."""

    ORDER = "ord"
    ORDER_LINE = "oln"
    ADJUSTMENT = "adj"
    TAX_LINE = "txl"
    HOLD = "hld"
    PAYMENT = "pay"
    PAYMENT_TRANSACTION = "ptx"
    REFUND = "rfd"
    FULFILLMENT_ORDER = "ful"
    FULFILLMENT_ORDER_LINE = "fol"
    SHIPMENT = "shp"
    SHIPMENT_LINE = "shl"
    PACKAGE = "pkg"
    CARRIER_EVENT = "cev"
    RETURN = "ret"
    RETURN_LINE = "rtl"
    PRODUCT = "prd"
    PRICE_LIST = "prl"
    PRICE = "prc"
    LOCATION = "loc"
    CHANNEL = "chn"
    CUSTOMER = "cus"
    COMPANY = "cmp"
    STOCK_LEVEL = "stk"
    STOCK_MOVEMENT = "mov"
    RESERVATION = "res"
    RESERVATION_LINE = "rsl"
    ALLOCATION = "all"
    BACKORDER = "bko"
    DISCREPANCY = "dsc"
    EVENT = "evt"
    EXTERNAL_ID = "xid"
    INVOICE = "inv"
    TRANSFER = "trf"
    API_KEY = "key"
    REVOCATION = "rev"
    AUDIT_ENTRY = "aud"


_BY_TEXT = {prefix.value: prefix for prefix in Prefix}
_UUID_LENGTH = 36


def format_id(prefix: Prefix | str, uuid: UUID) -> str:
    return f"{prefix}_{uuid}"


def split_id(text: str) -> tuple[Prefix, UUID] | None:
    """Prefix and UUID of a global id, or None when it is not one."""
    head, separator, tail = text.partition("_")
    if not separator or head not in _BY_TEXT or len(tail) != _UUID_LENGTH:
        return None
    try:
        uuid = UUID(tail)
    except ValueError:
        return None
    return (_BY_TEXT[head], uuid) if str(uuid) == tail else None


def parse_id(text: str, *expected: Prefix | str, field: tuple[str, ...] = ()) -> UUID:
    """The UUID of a global id with one of the `expected` prefixes (any, when none is given).

    Raises Refused(InvalidInput) for a malformed id and for one of another kind.
    """
    parts = split_id(text)
    if parts is not None and (not expected or parts[0] in expected):
        return parts[1]
    wanted = " or ".join(f"{prefix}_<uuid>" for prefix in expected) or "<prefix>_<uuid>"
    shown = text if len(text) <= 60 and text.isprintable() else "what was sent"
    raise Refused(InvalidInput(message=f"{shown!r} is not an id of the form {wanted}.", field=field))
