"""Which web pages may open sockets: those of this host, and of the origins that are allowed by name.

Browsers let any page open a WebSocket to any host and say in `Origin` which page it is; programs
that are no browsers send none. For HTTP nothing is needed: pages of other origins cannot send
JSON or an Authorization header without a permission that is never given.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit


def is_foreign(scope: MutableMapping[str, Any], allowed: frozenset[str]) -> bool:
    """Whether a page of another origin, that is not allowed, asks for this socket."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    sent = headers.get(b"origin")
    if sent is None:
        return False
    origin = sent.decode("latin-1").lower()
    if origin in allowed:
        return False
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        return True
    return not host or host != headers.get(b"host", b"").decode("latin-1").lower()
