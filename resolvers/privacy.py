"""Root fields of personal data."""

from __future__ import annotations

import strawberry

from domain.access import Scope
from domain.ids import Prefix, parse_id
from domain.privacy import EraseCustomer, EraseOrder, ExportCustomer, ExportOrder
from resolvers.context import write
from schema.customers import Customer
from schema.orders import Order
from schema.plan import Info, UserError, mutation, no_errors, ref, value_type
from schema.privacy import CustomerExport, OrderExport
from services.privacy import erase_customer, erase_order, export_customer, export_order


@value_type(description="What is kept of the customer, or why it is not told.")
class CustomerExportPayload:
    export: CustomerExport | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The customer without the person, or why not.")
class CustomerErasePayload:
    customer: Customer | None
    user_errors: list[UserError] = no_errors()


@value_type(description="What is kept of the order, or why it is not told.")
class OrderExportPersonalDataPayload:
    export: OrderExport | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The order without the person, or why not.")
class OrderErasePersonalDataPayload:
    order: Order | None
    user_errors: list[UserError] = no_errors()


@mutation(
    scope=Scope.PRIVACY_WRITE,
    description=(
        "Tells all that is kept of one customer, for a request of access (GDPR 15, LGPD 18). It changes nothing; as a "
        "mutation it is in the audit. Only staff with unbounded access may."
    ),
)
async def customer_export(info: Info, id: strawberry.ID) -> CustomerExportPayload:
    command = ExportCustomer(customer_id=parse_id(id, Prefix.CUSTOMER, field=("id",)))
    found = await write(info, export_customer, command)
    return CustomerExportPayload(export=ref(CustomerExport, found))


@mutation(
    scope=Scope.PRIVACY_WRITE,
    description=(
        "Takes the person out of everything that is kept: name, addresses, contacts, notes, metadata, tracking, names "
        "in partners' systems (GDPR 17, LGPD 18). Orders, sums, countries and the event log stay, which hold no "
        "personal data. Refused while an order or a return is open. There is no way back. Only staff with unbounded "
        "access may."
    ),
)
async def customer_erase(info: Info, id: strawberry.ID, idempotency_key: str) -> CustomerErasePayload:
    command = EraseCustomer(customer_id=parse_id(id, Prefix.CUSTOMER, field=("id",)))
    found = await write(info, erase_customer, command, key=idempotency_key)
    return CustomerErasePayload(customer=ref(Customer, found))


@mutation(
    scope=Scope.PRIVACY_WRITE,
    description=(
        "Tells all that is kept of one order and its documents, for who bought it without an account; "
        "`customerExport` tells all of a customer. Only staff with unbounded access may."
    ),
)
async def order_export_personal_data(info: Info, id: strawberry.ID) -> OrderExportPersonalDataPayload:
    command = ExportOrder(order_id=parse_id(id, Prefix.ORDER, field=("id",)))
    found = await write(info, export_order, command)
    return OrderExportPersonalDataPayload(export=ref(OrderExport, found))


@mutation(
    scope=Scope.PRIVACY_WRITE,
    description=(
        "Takes whoever bought one order out of it, as `customerErase` does for all of a customer's: for orders without "
        "a customer, and for recipients of gifts. Search finds a guest's orders by e-mail. Refused while the order or "
        "a return of it is open. There is no way back. Only staff with unbounded access may."
    ),
)
async def order_erase_personal_data(
    info: Info, id: strawberry.ID, idempotency_key: str
) -> OrderErasePersonalDataPayload:
    command = EraseOrder(order_id=parse_id(id, Prefix.ORDER, field=("id",)))
    found = await write(info, erase_order, command, key=idempotency_key)
    return OrderErasePersonalDataPayload(order=ref(Order, found))
