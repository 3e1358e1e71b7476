"""The log is a copy

Every row of the log was a row of the outbox, and was checked there: the lists of types, kinds
and origins are not read a second time for each batch that is moved.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

CHECKS = ("eventtype", "aggregatekind", "origin")

_CHECK_OF_OUTBOX = """
select pg_get_constraintdef(oid) from pg_constraint
where conrelid = cast('outbox' as regclass) and conname = :name
"""


def upgrade() -> None:
    for check in CHECKS:
        op.execute(f"alter table event_log drop constraint ck_event_log_{check}")


def downgrade() -> None:
    for check in CHECKS:
        rule = op.get_bind().execute(sa.text(_CHECK_OF_OUTBOX), {"name": f"ck_outbox_{check}"}).scalar_one()
        op.execute(f"alter table event_log add constraint ck_event_log_{check} {rule}")
