from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.invariants import assert_invariants
from tests.payments.shop import Shop, open_shop


@pytest.fixture
async def shop(engine: AsyncEngine) -> AsyncIterator[Shop]:
    """A shop whose books are held to every invariant after the test."""
    yield await open_shop(engine)
    await assert_invariants(engine)
