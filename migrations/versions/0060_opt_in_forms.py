"""Hosted opt-in forms, what people ticked in them until they confirm it from WhatsApp, and two answers in the chat."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0060"
down_revision = "0051"

BEFORE = (
    *("stop_confirmed", "hold_question", "hold_kept", "notice_offer", "opted_in", "already_in"),
    *("declined", "help", "rule", "person"),
)
NOW = (*BEFORE[:-2], "form_confirmed", "code_refused", *BEFORE[-2:])


def upgrade() -> None:
    op.create_table(
        "opt_in_forms",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sender_id", sa.Uuid(), nullable=False),
        sa.Column("offers", JSONB(), nullable=False),
        sa.Column("languages", JSONB(), nullable=False),
        sa.Column("origins", JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("asks_number", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.ForeignKeyConstraint(["sender_id"], ["senders.id"], name=op.f("fk_opt_in_forms_sender_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_opt_in_forms")),
        sa.UniqueConstraint("slug", name=op.f("uq_opt_in_forms_slug")),
    )
    op.create_table(
        "opt_in_requests",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("form_id", sa.Uuid(), nullable=False),
        sa.Column("code_hash", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("ticked", JSONB(), nullable=False),
        sa.Column("number_ref", sa.Text(), nullable=True),
        sa.Column("evidence", JSONB(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("contact_id", sa.Uuid(), nullable=True),
        sa.Column("refusals", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("refused_because", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["form_id"], ["opt_in_forms.id"], name=op.f("fk_opt_in_requests_form_id")),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.id"], name=op.f("fk_opt_in_requests_contact_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_opt_in_requests")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_opt_in_requests_code_hash")),
    )
    op.create_index(op.f("ix_opt_in_requests_form_id"), "opt_in_requests", ["form_id", "created_at"])
    op.create_index(
        op.f("ix_opt_in_requests_contact_id"),
        "opt_in_requests",
        ["contact_id"],
        postgresql_where=sa.text("contact_id IS NOT NULL"),
    )
    _reply_kinds(NOW)


def _reply_kinds(kinds: tuple[str, ...]) -> None:
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    for table in ("replies", "reply_texts"):
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT ck_{table}_replykind")
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_replykind CHECK (kind IN ({listed}))")


def downgrade() -> None:
    op.execute("DELETE FROM replies WHERE kind IN ('form_confirmed', 'code_refused')")
    op.execute("DELETE FROM reply_texts WHERE kind IN ('form_confirmed', 'code_refused')")
    _reply_kinds(BEFORE)
    op.drop_table("opt_in_requests")
    op.drop_table("opt_in_forms")
