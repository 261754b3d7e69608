"""Webhooks we send: subscriptions, cursors over the append-only tables, deliveries; changes of status become rows."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from core.models.base import Xid8

revision = "0033"
down_revision = "0032"

SOURCES = ("message", "consent", "inbound", "status")

TRIGGERS = """
CREATE FUNCTION note_status_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_changes (kind, subject_id, before, after)
    VALUES (TG_ARGV[0], NEW.id, OLD.status, NEW.status) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER note_status AFTER UPDATE OF status ON campaigns FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION note_status_change('campaign');

CREATE TRIGGER note_status AFTER UPDATE OF status ON templates FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION note_status_change('template');

REVOKE UPDATE, DELETE, TRUNCATE ON status_changes FROM kairan_app;
"""


def with_id() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    ]


def upgrade() -> None:
    # Rows of before have no transaction: they are never told about.
    op.add_column("inbound_messages", sa.Column("xid", Xid8(), nullable=True))
    op.alter_column("inbound_messages", "xid", server_default=sa.text("pg_current_xact_id()"))
    op.create_index(op.f("ix_inbound_messages_xid"), "inbound_messages", ["xid"])
    op.create_table(
        "hooks",
        *with_id(),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("events", JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("include_phone", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("secret_version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("rotated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_hooks_created_by"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hooks")),
    )
    op.create_table(
        "hook_cursors",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("next_xid", Xid8(), nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_hook_cursors")),
    )
    for source in SOURCES:
        op.execute(f"INSERT INTO hook_cursors (source, next_xid) VALUES ('{source}', pg_current_xact_id())")
    op.create_table(
        "hook_deliveries",
        *with_id(),
        sa.Column("hook_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_key", sa.Text(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "waiting", "delivered", "failed", name="hookstatus", native_enum=False, create_constraint=True, length=24
            ),
            nullable=False,
        ),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("http_status", sa.SmallInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["hook_id"], ["hooks.id"], name=op.f("fk_hook_deliveries_hook_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hook_deliveries")),
        sa.UniqueConstraint("hook_id", "event_id", name=op.f("uq_hook_deliveries_hook_id_event_id")),
    )
    op.create_index(op.f("ix_hook_deliveries_created_at"), "hook_deliveries", ["created_at"])
    op.create_index(
        "ix_hook_deliveries_due",
        "hook_deliveries",
        ["hook_id", "next_at", "id"],
        postgresql_where=sa.text("status = 'waiting'"),
    )
    op.create_table(
        "status_changes",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("xid", Xid8(), server_default=sa.text("pg_current_xact_id()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_status_changes")),
    )
    op.create_index(op.f("ix_status_changes_xid"), "status_changes", ["xid"])
    op.create_index(
        "uq_status_changes_completed",
        "status_changes",
        ["kind", "subject_id"],
        unique=True,
        postgresql_where=sa.text("after = 'completed'"),
    )
    for statement in TRIGGERS.strip().split("\n\n"):  # the driver takes one statement at a time
        op.execute(statement)


def downgrade() -> None:
    for table in ("campaigns", "templates"):
        op.execute(f"DROP TRIGGER note_status ON {table}")
    op.execute("DROP FUNCTION note_status_change()")
    for table in ("status_changes", "hook_deliveries", "hook_cursors", "hooks"):
        op.drop_table(table)
    op.drop_index(op.f("ix_inbound_messages_xid"), "inbound_messages")
    op.drop_column("inbound_messages", "xid")
