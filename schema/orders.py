"""Orders, their lines, adjustments, tax lines and holds, as the API shows them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import sqlalchemy as sa
from strawberry.scalars import JSON

from db import orders as tables
from domain.access import Scope
from domain.orders import (
    AdjustmentKind,
    BalanceStatus,
    CollectedBy,
    FulfillmentStatus,
    HoldReason,
    OrderStatus,
    Origin,
    PaymentStatus,
    ReleaseGate,
    ReturnStatus,
)
from schema import enums  # noqa: F401 - registers the enumerations that fields name
from schema.actions import order_actions
from schema.addresses import Address
from schema.plan import (
    BigInt,
    Connection,
    Money,
    Node,
    column,
    connection,
    embedded,
    expression,
    many,
    money,
    one,
    planned,
)

if TYPE_CHECKING:  # named by fields; resolved when the schema is built
    from schema.channels import Channel
    from schema.customers import Company, Customer
    from schema.discrepancies import Discrepancy
    from schema.events import OrderEvent
    from schema.external_ids import ExternalId
    from schema.fulfillment import FulfillmentOrder
    from schema.payments import Payment, Refund
    from schema.products import Product
    from schema.returns import Return
    from schema.shipments import Shipment
    from schema.stock import Allocation


def _balance(o: object) -> sa.ColumnElement[int]:
    """current total − credits − received + refunded + charged back, in minor units."""
    return (  # type: ignore[no-any-return] # `o` is an alias: its columns are looked up by name
        o.current_total - o.credited_total - o.received_total + o.refunded_total + o.charged_back_total  # type: ignore[attr-defined]
    )


@planned(
    tables.Order,
    node="ord",
    scope=Scope.ORDERS_READ,
    description=(
        "An order from any channel. Its lines, payments, fulfillment orders, shipments and returns hang on it; "
        "whatever happens to any of them raises `version` by one and stands in `timeline`."
    ),
)
class Order(Node):
    number: str = column(tables.Order.number, "What people call it; unique per channel.")
    status: OrderStatus = column(
        tables.Order.status, "Where the order stands as a whole; docs/states.md draws the transitions."
    )
    payment_status: PaymentStatus = column(
        tables.Order.payment_status, "What its payments amount to; derived, never set."
    )
    fulfillment_status: FulfillmentStatus = column(
        tables.Order.fulfillment_status, "How much of it has left; derived, never set."
    )
    return_status: ReturnStatus = column(
        tables.Order.return_status, "How much of it comes or came back; derived, never set."
    )
    on_hold: bool = column(
        tables.Order.on_hold, "Whether a hold keeps it from being sent; `holds` says which, to staff."
    )
    available_actions: list[str] = expression(
        order_actions,
        "The mutations that the order's state permits now. What you may call is also a matter of your scopes.",
    )
    origin: Origin = column(
        tables.Order.origin, "Whether it was placed here or imported as another system's history."
    )
    channel: Channel = one(
        "Channel",
        lambda order, channel: channel.id == order.channel_id,
        "Where it came from.",
        visible_with_parent=True,
    )
    customer: Customer | None = one(
        "Customer",
        lambda order, customer: customer.id == order.customer_id,
        "Who bought; null for a guest's order.",
        visible_with_parent=True,
    )
    company: Company | None = one(
        "Company",
        lambda order, company: company.id == order.company_id,
        "The company it was bought for.",
        visible_with_parent=True,
    )
    sales_representative: str | None = column(
        tables.Order.sales_representative, "Who took the order, where a person did."
    )
    email: str | None = column(
        tables.Order.email, "Where the customer is written to.", scope=Scope.CUSTOMERS_CONTACT
    )
    phone: str | None = column(
        tables.Order.phone, "Where the customer is called.", scope=Scope.CUSTOMERS_CONTACT
    )
    shipping_address: Address | None = embedded(
        tables.Order.shipping_address, "Where it is sent.", scope=Scope.CUSTOMERS_CONTACT
    )
    billing_address: Address | None = embedded(
        tables.Order.billing_address, "Where it is billed to.", scope=Scope.CUSTOMERS_CONTACT
    )
    note: str | None = column(tables.Order.note, "What the customer wanted said about it.")
    priority: int = column(
        tables.Order.priority, "When stock falls short, orders of a lower priority lose it first; 0 is usual."
    )
    release_gate: ReleaseGate = column(
        tables.Order.release_gate, "What must have happened before it goes to a location."
    )
    collected_by: CollectedBy = column(tables.Order.collected_by, "Who takes the customer's money.")
    currency_code: str = column(tables.Order.currency, "ISO 4217; all of its money is in this currency.")
    subtotal: Money = money(
        tables.Order.subtotal, tables.Order.currency, "Sum of its lines' net totals, after discounts."
    )
    discount_total: Money = money(
        tables.Order.discount_total, tables.Order.currency, "Sum of all discounts, as a positive amount."
    )
    shipping_total: Money = money(tables.Order.shipping_total, tables.Order.currency, "Shipping, net.")
    fee_total: Money = money(tables.Order.fee_total, tables.Order.currency, "Fees, net.")
    tax_total: Money = money(
        tables.Order.tax_total, tables.Order.currency, "All taxes, included in prices or not."
    )
    original_total: Money = money(
        tables.Order.original_total,
        tables.Order.currency,
        "What it came to when it was placed; never changes.",
    )
    current_total: Money = money(
        tables.Order.current_total, tables.Order.currency, "What it comes to after edits and cancellations."
    )
    received_total: Money = money(
        tables.Order.received_total, tables.Order.currency, "Captured from its payments so far."
    )
    refunded_total: Money = money(tables.Order.refunded_total, tables.Order.currency, "Paid back so far.")
    credited_total: Money = money(
        tables.Order.credited_total, tables.Order.currency, "Owed to the customer for accepted returns."
    )
    balance: Money = money(
        _balance,
        tables.Order.currency,
        "current total − credits − received + refunded + charged back: above zero is due, below is overpaid.",
    )
    balance_status: BalanceStatus = expression(
        lambda o: sa.case((_balance(o) > 0, "DUE"), (_balance(o) < 0, "OVERPAID"), else_="SETTLED"),
        "What the balance says.",
    )
    version: BigInt = column(
        tables.Order.version, "Number of its events; send it as `expectedVersion` to edit what you have read."
    )
    cancel_reason: str | None = column(tables.Order.cancel_reason, "Why it was cancelled.")
    placed_at: datetime = column(tables.Order.placed_at, "When the customer bought.")
    payment_due_at: datetime | None = column(
        tables.Order.payment_due_at, "Unpaid by then, a PENDING order expires and its stock is freed."
    )
    confirmed_at: datetime | None = column(tables.Order.confirmed_at, "When its release gate was met.")
    completed_at: datetime | None = column(
        tables.Order.completed_at, "When every unit was delivered, collected, cancelled or resolved."
    )
    cancelled_at: datetime | None = column(tables.Order.cancelled_at, "When it was cancelled or expired.")
    created_at: datetime = column(tables.Order.created_at, "When we came to know of it.")
    updated_at: datetime = column(tables.Order.updated_at, "When it or one of its documents last changed.")
    metadata: JSON = column(tables.Order.metadata_, "Whatever its partners keep on it; not interpreted.")
    private_metadata: JSON = column(
        tables.Order.private_metadata, "The same, for staff.", scope=Scope.METADATA_PRIVATE
    )
    external_ids: list[ExternalId] = many(
        "ExternalId",
        lambda order, external: external.entity_id == order.id,
        order_by=lambda external: (external.system, external.external_id),
        description="What partners' systems call it.",
        visible_with_parent=False,
        size=2,
    )
    lines: list[OrderLine] = many(
        "OrderLine",
        lambda order, line: line.order_id == order.id,
        order_by=lambda line: (line.line_number,),
        description="What was bought, in the order it was given.",
        size=5,
    )
    adjustments: list[OrderAdjustment] = many(
        "OrderAdjustment",
        lambda order, adjustment: sa.and_(
            adjustment.order_id == order.id, adjustment.order_line_id.is_(None)
        ),
        order_by=lambda adjustment: (adjustment.id,),
        description="Discounts, shipping and fees on the order as a whole.",
        size=3,
    )
    tax_lines: list[OrderTaxLine] = many(
        "OrderTaxLine",
        lambda order, tax: sa.and_(tax.order_id == order.id, tax.order_line_id.is_(None)),
        order_by=lambda tax: (tax.id,),
        description="Taxes on shipping and fees, frozen when it was placed.",
        size=2,
    )
    holds: list[OrderHold] = many(
        "OrderHold",
        lambda order, hold: hold.order_id == order.id,
        order_by=lambda hold: (hold.id,),
        description="Reasons to keep it from being sent, released ones included; none are shown to customers.",
        visible_with_parent=False,
        size=2,
    )
    payments: list[Payment] = many(
        "Payment",
        lambda order, payment: payment.order_id == order.id,
        order_by=lambda payment: (payment.id,),
        description="How it is paid, the first attempt first.",
        scope=Scope.PAYMENTS_READ,
        size=2,
    )
    refunds: list[Refund] = many(
        "Refund",
        lambda order, refund: refund.order_id == order.id,
        order_by=lambda refund: (refund.id,),
        description="Money given back, or being given back.",
        scope=Scope.PAYMENTS_READ,
        size=2,
    )
    fulfillment_orders: list[FulfillmentOrder] = many(
        "FulfillmentOrder",
        lambda order, fulfillment_order: fulfillment_order.order_id == order.id,
        order_by=lambda fulfillment_order: (fulfillment_order.id,),
        description="What each location is asked to send.",
        visible_with_parent=False,
        size=2,
    )
    shipments: list[Shipment] = many(
        "Shipment",
        lambda order, shipment: shipment.order_id == order.id,
        order_by=lambda shipment: (shipment.id,),
        description="What left, or is about to.",
        visible_with_parent=False,
        size=2,
    )
    returns: list[Return] = many(
        "Return",
        lambda order, found: found.order_id == order.id,
        order_by=lambda found: (found.id,),
        description="What comes back.",
        visible_with_parent=False,
        size=2,
    )
    discrepancies: list[Discrepancy] = many(
        "Discrepancy",
        lambda order, discrepancy: discrepancy.order_id == order.id,
        order_by=lambda discrepancy: (discrepancy.id,),
        description="Reports that fitted nothing, for staff to resolve.",
        visible_with_parent=False,
        size=2,
    )
    timeline: Connection[OrderEvent] = connection(
        "OrderEvent",
        lambda order, event: event.order_id == order.id,
        order_by=lambda event: (event.version,),
        visible_with_parent=False,
        description="Everything that happened to it and to its documents, the oldest first.",
        scope=Scope.EVENTS_READ,
    )


@planned(
    tables.OrderLine,
    node="oln",
    scope=Scope.ORDERS_READ,
    description=(
        "A line of an order. Its units are, at any time, cancelled, unallocated, allocated, backordered or "
        "fulfilled: `quantity` is their sum."
    ),
)
class OrderLine(Node):
    line_number: int = column(tables.OrderLine.line_number, "Its place on the order, from 1.")
    sku: str = column(tables.OrderLine.sku, "The SKU as ordered.")
    name: str = column(tables.OrderLine.name, "The product's name as ordered.")
    external_id: str | None = column(tables.OrderLine.external_id, "What the partner calls this line.")
    quantity: int = column(tables.OrderLine.quantity, "Units ordered.")
    quantity_cancelled: int = column(tables.OrderLine.quantity_cancelled, "Units that will not be sent.")
    quantity_allocated: int = column(
        tables.OrderLine.quantity_allocated, "Units that lie at a location for this line."
    )
    quantity_backordered: int = column(
        tables.OrderLine.quantity_backordered, "Units promised from stock that has yet to arrive."
    )
    quantity_fulfilled: int = column(tables.OrderLine.quantity_fulfilled, "Units that have left.")
    quantity_returned: int = column(
        tables.OrderLine.quantity_returned, "Units that came back and were accepted."
    )
    quantity_unallocated: int = expression(
        lambda line: (
            line.quantity
            - line.quantity_cancelled
            - line.quantity_allocated
            - line.quantity_backordered
            - line.quantity_fulfilled
        ),
        "Units with no promise behind them.",
    )
    unit_price: Money = money(
        tables.OrderLine.unit_price, tables.OrderLine.currency, "Of one unit, before discounts."
    )
    discount_total: Money = money(
        tables.OrderLine.discount_total, tables.OrderLine.currency, "Taken off this line."
    )
    net_total: Money = money(
        tables.OrderLine.net_total, tables.OrderLine.currency, "After discounts, without tax."
    )
    tax_total: Money = money(tables.OrderLine.tax_total, tables.OrderLine.currency, "Taxes on this line.")
    gross_total: Money = money(tables.OrderLine.gross_total, tables.OrderLine.currency, "Net and tax.")
    metadata: JSON = column(tables.OrderLine.metadata_, "Whatever its partners keep on it.")
    order: Order = one(
        "Order", lambda line, order: order.id == line.order_id, "Its order.", visible_with_parent=True
    )
    product: Product = one(
        "Product",
        lambda line, product: product.id == line.product_id,
        "The product, as it is today.",
        visible_with_parent=True,
    )
    adjustments: list[OrderAdjustment] = many(
        "OrderAdjustment",
        lambda line, adjustment: adjustment.order_line_id == line.id,
        order_by=lambda adjustment: (adjustment.id,),
        description="Discounts on this line.",
        size=2,
    )
    tax_lines: list[OrderTaxLine] = many(
        "OrderTaxLine",
        lambda line, tax: tax.order_line_id == line.id,
        order_by=lambda tax: (tax.id,),
        description="Taxes on this line, frozen when the order was placed.",
        size=2,
    )
    allocations: list[Allocation] = many(
        "Allocation",
        lambda line, allocation: allocation.order_line_id == line.id,
        order_by=lambda allocation: (allocation.id,),
        description="Where its allocated units lie; not shown to customers.",
        visible_with_parent=False,
        size=2,
    )


@planned(
    tables.OrderAdjustment,
    node="adj",
    scope=Scope.ORDERS_READ,
    description="A discount (as a positive amount taken off), a shipping charge or a fee.",
)
class OrderAdjustment(Node):
    kind: AdjustmentKind = column(tables.OrderAdjustment.kind, "What it is.")
    code: str | None = column(tables.OrderAdjustment.code, "The voucher or rule behind it.")
    label: str = column(tables.OrderAdjustment.label, "What the customer reads.")
    amount: Money = money(tables.OrderAdjustment.amount, tables.OrderAdjustment.currency, "Always positive.")


@planned(
    tables.OrderTaxLine,
    node="txl",
    scope=Scope.ORDERS_READ,
    description="A tax as it was worked out when the order was placed; never recalculated.",
)
class OrderTaxLine(Node):
    kind: str = column(tables.OrderTaxLine.kind, "Which tax: VAT, ICMS, SALES_TAX, …")
    jurisdiction: str | None = column(tables.OrderTaxLine.jurisdiction, "Who levies it.")
    base: Money = money(
        tables.OrderTaxLine.base_amount, tables.OrderTaxLine.currency, "What it was worked out on."
    )
    rate: Decimal = column(tables.OrderTaxLine.rate, 'As a fraction: "0.190000" is 19 %.')
    amount: Money = money(tables.OrderTaxLine.amount, tables.OrderTaxLine.currency, "The tax.")
    included: bool = column(tables.OrderTaxLine.included, "Whether prices contain it.")


@planned(
    tables.OrderHold,
    node="hld",
    scope=Scope.ORDERS_READ,
    description="A reason to keep an order from being sent, until it is released.",
)
class OrderHold(Node):
    reason: HoldReason = column(tables.OrderHold.reason, "Why.")
    note: str | None = column(tables.OrderHold.note, "What was said about it.")
    placed_by: str = column(tables.OrderHold.placed_by, "Who held the order.", scope=Scope.ACTORS_READ)
    placed_at: datetime = column(tables.OrderHold.placed_at, "Since when.")
    released_by: str | None = column(
        tables.OrderHold.released_by, "Who released it; null while it holds.", scope=Scope.ACTORS_READ
    )
    released_at: datetime | None = column(tables.OrderHold.released_at, "When it was released.")
