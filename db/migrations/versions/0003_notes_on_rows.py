"""Keep what locations say in words on the rows it is about: events tell no free text."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("fulfillment_order", sa.Column("note", sa.Text(), nullable=True))
    op.add_column("shipment", sa.Column("cancel_reason", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("shipment", "cancel_reason")
    op.drop_column("fulfillment_order", "note")
