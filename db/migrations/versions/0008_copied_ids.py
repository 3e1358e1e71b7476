"""Copied ids

What a row repeats of a row that it refers to is not checked a second time.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COPIES = (
    ("fulfillment_order_line", "product_id", "product"),
    ("shipment_line", "product_id", "product"),
    ("payment_transaction", "order_id", "orders"),
)


def upgrade() -> None:
    for table, column, target in COPIES:
        op.drop_constraint(f"fk_{table}_{column}_{target}", table, type_="foreignkey")


def downgrade() -> None:
    for table, column, target in COPIES:
        op.create_foreign_key(f"fk_{table}_{column}_{target}", table, target, [column], ["id"])
