"""Keep API keys, revoked tokens, an append-only audit, and when a customer was erased."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INSTANT = postgresql.TIMESTAMP(timezone=True)


def choice(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=40)


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("channels", postgresql.ARRAY(sa.Uuid()), nullable=True),
        sa.Column("locations", postgresql.ARRAY(sa.Uuid()), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("rotated_at", INSTANT, nullable=True),
        sa.Column("previous_digest", sa.LargeBinary(), nullable=True),
        sa.Column("previous_ends_at", INSTANT, nullable=True),
        sa.Column("expires_at", INSTANT, nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("revoked_at", INSTANT, nullable=True),
        sa.Column("revoked_by", sa.Text(), nullable=True),
        sa.Column("last_used_at", INSTANT, nullable=True),
        sa.Column("created_at", INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("octet_length(digest) = 32", name=op.f("ck_api_key_digest")),
        sa.CheckConstraint(
            "(previous_digest is null) = (previous_ends_at is null)", name=op.f("ck_api_key_previous")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
    )
    op.create_index(op.f("ix_api_key_name_id"), "api_key", ["name", "id"])
    op.create_index(op.f("ix_api_key_created_at_id"), "api_key", ["created_at", "id"])
    op.create_table(
        "revocation",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", choice("revokedkind", "TOKEN", "SUBJECT"), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("revoked_by", sa.Text(), nullable=False),
        sa.Column("ends_at", INSTANT, nullable=True),
        sa.Column("created_at", INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revocation")),
    )
    op.create_index(op.f("ix_revocation_kind_value"), "revocation", ["kind", "value"])
    op.create_index(op.f("ix_revocation_created_at_id"), "revocation", ["created_at", "id"])
    op.create_table(
        "access_version",
        sa.Column("one", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("one", name=op.f("ck_access_version_single_row")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_access_version")),
    )
    op.execute("insert into access_version default values")
    op.create_table(
        "audit_entry",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("occurred_at", INSTANT, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("kind", choice("principalkind", "STAFF", "PARTNER", "CUSTOMER", "GUEST"), nullable=False),
        sa.Column("credential", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("outcome", choice("auditoutcome", "DONE", "REFUSED"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("entity_id", sa.Uuid(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entry")),
    )
    op.create_index(op.f("ix_audit_entry_account_id"), "audit_entry", ["account", "id"])
    op.create_index(
        "ix_audit_entry_entity",
        "audit_entry",
        ["entity_id", "id"],
        postgresql_where=sa.text("entity_id is not null"),
    )
    op.execute(
        """
        create function oms_audit_is_append_only() returns trigger language plpgsql as $$
        begin
            raise exception 'the audit is only ever added to' using errcode = 'insufficient_privilege';
        end
        $$
        """
    )
    op.execute(
        """
        create trigger append_only before update or delete or truncate on audit_entry
        for each statement execute function oms_audit_is_append_only()
        """
    )
    op.add_column("customer", sa.Column("erased_at", INSTANT, nullable=True))


def downgrade() -> None:
    op.drop_column("customer", "erased_at")
    op.drop_table("audit_entry")
    op.execute("drop function oms_audit_is_append_only()")
    op.drop_table("access_version")
    op.drop_table("revocation")
    op.drop_table("api_key")
