"""Indexes of statuses"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_orders_fulfillment_status",
        "orders",
        ["fulfillment_status", "placed_at", "id"],
        unique=False,
        postgresql_where=sa.text("fulfillment_status <> 'UNFULFILLED' and fulfillment_status <> 'FULFILLED'"),
    )
    op.create_index(
        "ix_orders_return_status",
        "orders",
        ["return_status", "placed_at", "id"],
        unique=False,
        postgresql_where=sa.text("return_status <> 'NONE'"),
    )
    op.create_index(
        op.f("ix_fulfillment_order_status_created_at_id"),
        "fulfillment_order",
        ["status", "created_at", "id"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_fulfillment_order_status_created_at_id"), table_name="fulfillment_order")
    op.drop_index("ix_orders_return_status", table_name="orders")
    op.drop_index("ix_orders_fulfillment_status", table_name="orders")
