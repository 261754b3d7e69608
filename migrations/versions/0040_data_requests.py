"""Requests of people about their data, each with a clock; who is erased is found again by their id only."""

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0033"

KINDS = ("access", "portability", "erasure", "objection", "rectification", "restriction")


def upgrade() -> None:
    op.create_table(
        "data_requests",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("kind", _words("requestkind", *KINDS), nullable=False),
        sa.Column("status", _words("requeststatus", "open", "done", "refused"), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("identity_proof", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("opened_by", sa.Uuid(), nullable=True),
        sa.Column("closed_by", sa.Uuid(), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("facts", sa.dialects.postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.CheckConstraint("(status = 'open') = (closed_at IS NULL)", name=op.f("ck_data_requests_closed")),
        sa.ForeignKeyConstraint(["contact_id"], ["contacts.id"], name=op.f("fk_data_requests_contact_id")),
        sa.ForeignKeyConstraint(["opened_by"], ["users.id"], name=op.f("fk_data_requests_opened_by")),
        sa.ForeignKeyConstraint(["closed_by"], ["users.id"], name=op.f("fk_data_requests_closed_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_requests")),
    )
    op.create_index(op.f("ix_data_requests_contact_id"), "data_requests", ["contact_id"])
    op.create_index(
        "ix_data_requests_open", "data_requests", ["due_at"], postgresql_where=sa.text("status = 'open'")
    )


def _words(name: str, *words: str) -> sa.Enum:
    return sa.Enum(*words, name=name, native_enum=False, create_constraint=True, length=24)


def downgrade() -> None:
    op.drop_table("data_requests")
