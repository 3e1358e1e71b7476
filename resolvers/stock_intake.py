"""Root fields of receipts, adjustments and counts."""

from __future__ import annotations

from domain.access import Scope
from resolvers.batches import write_each
from resolvers.context import write
from schema.plan import Info, UserError, mutation, no_errors, ref, value_type
from schema.stock import StockLevel
from schema.stock_intake import StockAdjustInput, StockReceiveInput
from services.stock_intake import adjust_stock, adjust_stocks, receive_stock, receive_stocks


@value_type(description="The stock level as it is now, or why nothing was received.")
class StockReceivePayload:
    stock_level: StockLevel | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The stock level as it is now, or why nothing was adjusted.")
class StockAdjustPayload:
    stock_level: StockLevel | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The answer for one item of a batch.")
class StockResult:
    index: int
    stock_level: StockLevel | None
    user_errors: list[UserError] = no_errors()


@value_type(description="One result an item, in their order; userErrors are those of the batch as a whole.")
class StockBatchPayload:
    results: list[StockResult] | None
    user_errors: list[UserError] = no_errors()


@mutation(
    scope=Scope.STOCK_WRITE,
    description="Posts units that have come in. Backorders that wait for them are served at once.",
)
async def stock_receive(info: Info, input: StockReceiveInput, idempotency_key: str) -> StockReceivePayload:
    level_id = await write(info, receive_stock, input.to_command(), key=idempotency_key)
    return StockReceivePayload(stock_level=ref(StockLevel, level_id))


@mutation(
    scope=Scope.STOCK_WRITE,
    description="Posts up to 100 receipts. Each is answered for itself: one bad item stops no other.",
)
async def stock_receive_many(
    info: Info, inputs: list[StockReceiveInput], idempotency_key: str
) -> StockBatchPayload:
    return StockBatchPayload(
        results=[
            StockResult(
                index=index,
                stock_level=ref(StockLevel, found) if found is not None else None,
                user_errors=errors,
            )
            for index, found, errors in await write_each(info, receive_stocks, inputs, idempotency_key)
        ]
    )


@mutation(
    scope=Scope.STOCK_WRITE,
    description=(
        "Corrects the books by a difference or to a count. If fewer units are left than were promised, the "
        "weakest promises become backorders, and staff read of it."
    ),
)
async def stock_adjust(info: Info, input: StockAdjustInput, idempotency_key: str) -> StockAdjustPayload:
    level_id = await write(info, adjust_stock, input.to_command(), key=idempotency_key)
    return StockAdjustPayload(stock_level=ref(StockLevel, level_id))


@mutation(
    scope=Scope.STOCK_WRITE,
    description="Posts up to 100 adjustments. Each is answered for itself: one bad item stops no other.",
)
async def stock_adjust_many(
    info: Info, inputs: list[StockAdjustInput], idempotency_key: str
) -> StockBatchPayload:
    return StockBatchPayload(
        results=[
            StockResult(
                index=index,
                stock_level=ref(StockLevel, found) if found is not None else None,
                user_errors=errors,
            )
            for index, found, errors in await write_each(info, adjust_stocks, inputs, idempotency_key)
        ]
    )
