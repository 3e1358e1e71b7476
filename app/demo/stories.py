"""What becomes of orders: each story takes one from its placement as far as it goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import sqlalchemy as sa

from app.demo.story import CARD, EXTERNAL, TERMS, TRANSFER, Story
from db.fulfillment import FulfillmentOrderLine
from db.returns import ReturnLine
from domain.fulfillment_commands import MarkShort, ShortUnits
from domain.order_commands import CancelOrder, HoldOrder, PlaceLine
from domain.orders import HoldReason
from domain.reservations import ReservationOwner
from domain.return_commands import (
    ApproveReturn,
    InspectedUnits,
    InspectReturn,
    MarkReturnSent,
    ReceivedUnits,
    ReceiveReturn,
)
from domain.returns import Disposition, ReturnReason
from domain.shipment_commands import (
    DispatchShipment,
    ShipUnits,
)
from domain.shipments import CarrierEventKind
from services.dispatches import dispatch_shipment
from services.expiry import ExpireOrder, expire_order
from services.holds import hold_order
from services.order_cancellation import cancel_order
from services.reservations import ReserveLine, ReserveStock, reserve_stock
from services.return_inspection import inspect_return, receive_return
from services.returns import approve_return, mark_return_sent
from services.short_picks import mark_short
from services.transactions import Outcome

ON_ITS_WAY = (CarrierEventKind.PICKED_UP, CarrierEventKind.IN_TRANSIT)
TO_THE_DOOR = (*ON_ITS_WAY, CarrierEventKind.OUT_FOR_DELIVERY, CarrierEventKind.DELIVERED)


async def wait_for_money(story: Story) -> None:
    """A bank transfer that has not come yet."""
    await story.place("WEB", TRANSFER)


async def be_declined(story: Story) -> None:
    """A card that was refused; the customer has until the payment is due to try another."""
    await story.place("WEB", CARD)
    await story.settle(Outcome.FAILED, failure="Declined by the issuer.")


async def expire(story: Story) -> None:
    """Money that never came."""
    story.now -= timedelta(days=5)
    await story.place("WEB", TRANSFER)
    story.now += timedelta(days=4)
    await story.do(expire_order, ExpireOrder(order_id=story.order_id))


async def be_confirmed(story: Story) -> None:
    """Paid for, and its locations asked."""
    await story.place()
    await story.settle()


async def be_accepted(story: Story) -> None:
    await be_confirmed(story)
    await story.accept()


async def be_picked(story: Story) -> None:
    await be_confirmed(story)
    await story.begin_shipments(pack=False)


async def be_packed(story: Story) -> None:
    await be_confirmed(story)
    await story.begin_shipments(pack=True)


async def be_on_its_way(story: Story) -> None:
    await story.ship()
    await story.scan(*ON_ITS_WAY)


async def be_late(story: Story) -> None:
    """A parcel that the carrier could not hand over yet."""
    await story.ship()
    await story.scan(*ON_ITS_WAY, CarrierEventKind.DELAYED, CarrierEventKind.ATTEMPTED)


async def be_delivered(story: Story) -> None:
    story.now -= timedelta(days=3)
    await story.ship()
    await story.scan(*TO_THE_DOOR)


async def leave_in_two_parts(story: Story) -> None:
    """Half of it has left."""
    skus = story.chance.sample([sku for sku, price in sorted(story.shop.prices.items()) if price < 5_000], 2)
    lines = [PlaceLine(sku=sku, quantity=4, unit_price=story.shop.prices[sku]) for sku in skus]
    await story.place("MARKET", EXTERNAL, lines)
    table = FulfillmentOrderLine.metadata.tables["fulfillment_order_line"]
    for fulfillment_order_id in await story.accept():
        asked = (
            await story.session.execute(
                sa.select(table).where(table.c.fulfillment_order_id == fulfillment_order_id).limit(1)
            )
        ).one()
        await story.do(
            dispatch_shipment,
            DispatchShipment(
                fulfillment_order_id=fulfillment_order_id,
                lines=(ShipUnits(fulfillment_order_line_id=asked.id, quantity=2),),
                carrier=story.carrier(),
                packages=(story.parcel(),),
            ),
        )


async def wait_for_stock(story: Story) -> None:
    """More than there is of something that may be backordered."""
    dear = [sku for sku, price in sorted(story.shop.prices.items()) if 50_000 <= price < 500_000]
    sku = story.chance.choice(dear)
    line = PlaceLine(sku=sku, quantity=30, unit_price=story.shop.prices[sku])
    await story.place("REPS", TERMS, [line])


async def be_held(story: Story) -> None:
    """Somebody looks at it before it goes anywhere."""
    await be_confirmed(story)
    reason = story.chance.choice((HoldReason.FRAUD_REVIEW, HoldReason.ADDRESS))
    note = "The address is not complete." if reason is HoldReason.ADDRESS else None
    await story.do(hold_order, HoldOrder(order_id=story.order_id, reason=reason, note=note))


async def be_cancelled(story: Story) -> None:
    """Cancelled before anything left; the card's authorisation is released."""
    await be_confirmed(story)
    await story.do(cancel_order, CancelOrder(order_id=story.order_id, reason="Ordered by mistake."))
    await story.settle()


async def fall_short(story: Story) -> None:
    """A unit that is not where the books say: it is sent from elsewhere, or waits."""
    await be_confirmed(story)
    table = FulfillmentOrderLine.metadata.tables["fulfillment_order_line"]
    fulfillment_order_id = (await story.accept())[0]
    asked = (
        await story.session.execute(
            sa.select(table).where(table.c.fulfillment_order_id == fulfillment_order_id).limit(1)
        )
    ).one()
    await story.do(
        mark_short,
        MarkShort(
            fulfillment_order_id=fulfillment_order_id,
            lines=(ShortUnits(fulfillment_order_line_id=asked.id, quantity=1),),
            note="The shelf was empty.",
        ),
    )


async def be_scanned_too_early(story: Story) -> None:
    """A carrier that says DELIVERED of a parcel that has not left: staff will have to look."""
    await be_packed(story)
    await story.scan(CarrierEventKind.DELIVERED)


async def ask_for_return(story: Story) -> None:
    await be_delivered(story)
    await story.ask_return(ReturnReason.NO_LONGER_WANTED)


async def send_back(story: Story) -> None:
    """Approved, and on its way back."""
    await be_delivered(story)
    return_id = await story.ask_return(ReturnReason.DOES_NOT_FIT)
    await story.do(approve_return, ApproveReturn(return_id=return_id))
    await story.do(
        mark_return_sent,
        MarkReturnSent(return_id=return_id, tracking_number=f"R{story.chance.randrange(10**8):08d}"),
    )


async def be_refunded(story: Story) -> None:
    """Came back, was looked at, went back on the shelf, and the money too."""
    story.now -= timedelta(days=4)
    await be_delivered(story)
    return_id = await story.ask_return(ReturnReason.NOT_AS_DESCRIBED)
    await story.do(approve_return, ApproveReturn(return_id=return_id))
    table = ReturnLine.metadata.tables["return_line"]
    statement = sa.select(table).where(table.c.return_id == return_id)
    line = (await story.session.execute(statement)).one()
    received = ReceivedUnits(line_id=line.id, quantity=1)
    await story.do(receive_return, ReceiveReturn(return_id=return_id, lines=(received,)))
    disposition = story.chance.choice((Disposition.RESTOCK, Disposition.RESTOCK, Disposition.DAMAGED))
    judged = InspectedUnits(line_id=line.id, accepted=1, disposition=disposition)
    await story.do(inspect_return, InspectReturn(return_id=return_id, lines=(judged,)))
    await story.settle()


async def keep_for_a_quote(story: Story) -> None:
    """Stock that a quote holds for a while; there is no order yet."""
    skus = story.chance.sample([sku for sku, price in sorted(story.shop.prices.items()) if price < 5_000], 2)
    await story.do(
        reserve_stock,
        ReserveStock(
            channel_id=story.shop.channels["REPS"],
            lines=tuple(ReserveLine(sku=sku, quantity=5) for sku in skus),
            minutes=20 * 24 * 60,
            owner=ReservationOwner.QUOTE,
            reference=f"Q-{story.chance.randrange(10**4):04d}",
        ),
    )


STORIES: tuple[tuple[Callable[[Story], Awaitable[None]], int], ...] = (
    (be_refunded, 4),
    (send_back, 3),
    (ask_for_return, 3),
    (be_delivered, 10),
    (expire, 2),
    (be_late, 2),
    (be_on_its_way, 9),
    (be_cancelled, 4),
    (leave_in_two_parts, 3),
    (wait_for_stock, 3),
    (fall_short, 2),
    (be_scanned_too_early, 1),
    (be_packed, 5),
    (be_picked, 4),
    (be_accepted, 5),
    (be_held, 4),
    (be_confirmed, 10),
    (be_declined, 2),
    (wait_for_money, 4),
    (keep_for_a_quote, 2),
)
"""Each story, and how many orders live it."""
