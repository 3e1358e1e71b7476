"""A process that cancels orders one after the other, to be killed: `python -m tests.access.cancelling URL ORDER…`."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from uuid import UUID

from db.engine import create_write_engine
from domain.errors import Refused
from domain.order_commands import CancelOrder
from services.audit import Call
from services.order_cancellation import cancel_order
from services.unit_of_work import UnitOfWork
from tests.world import STAFF


async def main(url: str, orders: list[str]) -> None:
    unit_of_work = UnitOfWork(create_write_engine(url))
    for order in orders:
        with contextlib.suppress(Refused):  # cancelled by an earlier run
            await unit_of_work.run(
                cancel_order, CancelOrder(order_id=UUID(order)), actor=STAFF, call=Call("orderCancel")
            )
        print(order, flush=True)  # noqa: T201 - whoever kills us waits for it
    await asyncio.sleep(10)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
