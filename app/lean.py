"""Importing libraries without the extras that a server never uses."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Let these modules seem not to be installed: who tries to import them goes on without.

    What is imported already stays.
    """
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment] # how Python itself is told
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
