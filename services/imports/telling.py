"""One imported order while its rows are made: what many of them hold, and its events so far."""

from __future__ import annotations

from db.bulk import NULL, Form, Rows, bigint, document, instant, new_id, uuid
from services.imports.forms import Forms
from services.imports.imported import Imported

NOTHING = document({})


class Telling:
    """Values are as they are sent."""

    __slots__ = (
        *("company_id", "customer_id", "forms", "id", "line_ids", "order", "placed_at"),
        *("product_ids", "rows", "units", "version", "whose"),
    )

    def __init__(self, rows: Rows, forms: Forms, order: Imported) -> None:
        self.rows = rows
        self.forms = forms
        self.order = order
        self.version = 0
        self.units = sum(known.line.quantity for known in order.lines)
        self.id = uuid(order.id)
        self.line_ids = [new_id() for _ in order.lines]
        self.product_ids = [uuid(product.id) for product in order.products]
        self.placed_at = instant(order.placed_at)
        self.customer_id = uuid(order.command.customer_id)
        self.company_id = uuid(order.company_id)
        self.whose = self.id + self.id + self.customer_id + self.company_id

    def tell(
        self, form: Form, subject_id: bytes, at: bytes, details: bytes, location_id: bytes = NULL
    ) -> None:
        """The next event: of which part of the order, when, and what there is to say of it."""
        self.version += 1
        self.rows.add(form, new_id(), self.whose, subject_id, bigint(self.version), location_id, details, at)
