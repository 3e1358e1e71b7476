"""Lighter writes

An order writes fewer index entries, and changes its stock levels in place.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_stock_level_updated_at_id", table_name="stock_level")
    op.drop_constraint("fk_allocation_order_id_orders", "allocation", type_="foreignkey")
    op.drop_constraint("fk_allocation_location_id_location", "allocation", type_="foreignkey")
    op.drop_index("ix_outbox_aggregate", table_name="outbox")
    op.create_index(
        "ix_outbox_aggregate",
        "outbox",
        ["aggregate_id", "version"],
        unique=False,
        postgresql_where=sa.text("product_id is null"),
    )


def downgrade() -> None:
    op.drop_index("ix_outbox_aggregate", table_name="outbox")
    op.create_index("ix_outbox_aggregate", "outbox", ["aggregate_id", "version"], unique=False)
    op.create_foreign_key(
        "fk_allocation_location_id_location", "allocation", "location", ["location_id"], ["id"]
    )
    op.create_foreign_key("fk_allocation_order_id_orders", "allocation", "orders", ["order_id"], ["id"])
    op.create_index("ix_stock_level_updated_at_id", "stock_level", ["updated_at", "id"], unique=False)
