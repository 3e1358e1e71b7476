"""What text may come in: bounded, printable, storable by PostgreSQL and by every partner.

`problem_with` says what is wrong in a sentence; `require` refuses. Neither alters
a text: what was sent is what is stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from domain.errors import InvalidInput, Refused

MAX_CODE = 64
MAX_SKU = 64
MAX_NAME = 200
MAX_LINE = 200
"""One line of text: a street, a label, a reason."""
MAX_NOTE = 2000
MAX_EMAIL = 254
"""RFC 5321, 4.5.3.1.3: a path of 256 octets with its angle brackets."""
MAX_PHONE = 40
MAX_EXTERNAL_ID = 128
MAX_IDEMPOTENCY_KEY = 200
MAX_TOKEN = 2000
MAX_URL = 2000
MAX_METADATA_KEYS = 50
MAX_METADATA_TEXT = 2000
MAX_METADATA_DEPTH = 4

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*", re.ASCII)
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")
_UNWELCOME = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Unicode's control characters (Cc), which PostgreSQL or partners choke on, and surrogates (Cs)."""
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
_LARGEST_INTEGER = 2**53
"""Beyond it JSON readers disagree about integers (RFC 8259, 6)."""


def problem_with(value: str, maximum: int, *, multiline: bool = False, empty: bool = False) -> str | None:
    """A sentence about what is wrong with `value`, or None. Lengths count code points."""
    if len(value) > maximum:
        return f"must have at most {maximum} characters, not {len(value)}."
    if not empty and not value.strip():
        return "must not be empty."
    if value.isprintable():  # which no unwelcome character is
        return None
    for match in _UNWELCOME.finditer(value):
        character = match.group()
        if character >= "\ud800":
            return "must not hold half of a surrogate pair."
        if not (multiline and character in "\n\r\t"):
            return f"must not hold the control character U+{ord(character):04X}."
    return None


def require(
    value: str, maximum: int, *, field: tuple[str, ...], multiline: bool = False, empty: bool = False
) -> str:
    """`value`, if nothing is wrong with it; else Refused(InvalidInput) for `field`."""
    problem = problem_with(value, maximum, multiline=multiline, empty=empty)
    if problem is None:
        return value
    raise Refused(InvalidInput(message=f"The text {problem}", field=field))


def require_code(value: str, *, field: tuple[str, ...]) -> str:
    """A code: letters, digits and `. _ : / -`, beginning with a letter or digit."""
    require(value, MAX_CODE, field=field)
    if _CODE.fullmatch(value) is None:
        message = "A code consists of letters, digits and . _ : / - and begins with a letter or digit."
        raise Refused(InvalidInput(message=message, field=field))
    return value


def require_sku(value: str, *, field: tuple[str, ...]) -> str:
    """A SKU: any one-line text without spaces at its ends."""
    require(value, MAX_SKU, field=field)
    if value != value.strip():
        raise Refused(InvalidInput(message="A SKU has no spaces at its ends.", field=field))
    return value


def require_email(value: str, *, field: tuple[str, ...]) -> str:
    """Something@something; whether it receives mail only mail can tell."""
    require(value, MAX_EMAIL, field=field)
    if _EMAIL.fullmatch(value) is None:
        raise Refused(InvalidInput(message="An e-mail address is of the form name@domain.", field=field))
    return value


def require_country_code(value: str, *, field: tuple[str, ...]) -> str:
    """Two capital letters, as ISO 3166-1 alpha-2."""
    if _COUNTRY.fullmatch(value) is None:
        message = 'A country code is two capital letters, such as "DE".'
        raise Refused(InvalidInput(message=message, field=field))
    return value


def require_metadata(value: Mapping[str, Any], *, field: tuple[str, ...]) -> dict[str, Any]:
    """A JSON object of at most 50 keys, in all its depth, that every JSON reader reads alike."""
    keys = 0
    pending: list[tuple[Any, int]] = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        problem: str | None = None
        if isinstance(item, Mapping):
            keys += len(item)
            if keys > MAX_METADATA_KEYS:
                problem = f"must have at most {MAX_METADATA_KEYS} keys."
            for key in item:
                problem = problem or problem_with(key, MAX_CODE)
            pending += [(inner, depth + 1) for inner in item.values()]
        elif isinstance(item, list | tuple):
            if len(item) > MAX_METADATA_KEYS:
                problem = f"must have at most {MAX_METADATA_KEYS} items in a list."
            pending += [(inner, depth + 1) for inner in item]
        elif isinstance(item, str):
            problem = problem_with(item, MAX_METADATA_TEXT, multiline=True, empty=True)
        elif isinstance(item, float) and not abs(item) < float("inf"):
            problem = "must not hold NaN or infinity."
        elif isinstance(item, int) and abs(item) > _LARGEST_INTEGER:
            problem = "must not hold integers beyond 2^53; send them as text."
        if depth > MAX_METADATA_DEPTH + 1:
            problem = f"must not be nested deeper than {MAX_METADATA_DEPTH}."
        if problem is not None:
            raise Refused(InvalidInput(message=f"Metadata {problem}", field=field))
    return dict(value)
