"""Automatic answers: why each was written, and the organisation's own wording of them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0030"
down_revision = "0021"

KINDS = (
    "stop_confirmed",
    "hold_question",
    "hold_kept",
    "notice_offer",
    "opted_in",
    "already_in",
    "declined",
    "help",
    "rule",
    "person",
)


def kind() -> sa.Enum:
    return sa.Enum(*KINDS, name="replykind", native_enum=False, create_constraint=True, length=24)


def upgrade() -> None:
    op.create_table(
        "replies",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("kind", kind(), nullable=False),
        sa.Column("inbound_id", sa.Uuid(), nullable=True),
        sa.Column("rule_id", sa.Uuid(), nullable=True),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name=op.f("fk_replies_message_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.id"], name=op.f("fk_replies_contact_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["inbound_id"], ["inbound_messages.id"], name=op.f("fk_replies_inbound_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replies")),
        sa.UniqueConstraint("message_id", name=op.f("uq_replies_message_id")),
    )
    op.create_index(op.f("ix_replies_contact_id_created_at"), "replies", ["contact_id", "created_at"])
    op.create_index(
        "uq_replies_inbound",
        "replies",
        ["inbound_id", "kind"],
        unique=True,
        postgresql_where=sa.text("inbound_id IS NOT NULL"),
    )
    op.create_table(
        "reply_texts",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("kind", kind(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("buttons", JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reply_texts")),
        sa.UniqueConstraint("kind", "language", name=op.f("uq_reply_texts_kind_language")),
    )


def downgrade() -> None:
    op.drop_table("reply_texts")
    op.drop_table("replies")
