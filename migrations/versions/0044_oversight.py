"""What compliance oversees: checks of the ledger, checkpoints given to others, and drafts a second person publishes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0044"
down_revision = "0043"


def _base(name: str) -> tuple[sa.Column[object], sa.Column[object], sa.PrimaryKeyConstraint]:
    return (
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{name}")),
    )


def upgrade() -> None:
    op.create_table(
        "ledger_checks",
        *_base("ledger_checks"),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("findings", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("took_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "ledger_anchors",
        *_base("ledger_anchors"),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("made_by", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["made_by"], ["users.id"], name=op.f("fk_ledger_anchors_made_by")),
    )
    op.create_table(
        "registry_drafts",
        *_base("registry_drafts"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("content", postgresql.JSONB(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("proposed_by", sa.Uuid(), nullable=False),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("published_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("kind IN ('notice', 'purpose')", name=op.f("ck_registry_drafts_kind")),
        sa.CheckConstraint("status IN ('open', 'published', 'rejected')", name=op.f("ck_registry_drafts_status")),
        sa.CheckConstraint("decided_by <> proposed_by OR status = 'rejected'", name=op.f("ck_registry_drafts_two")),
        sa.ForeignKeyConstraint(["proposed_by"], ["users.id"], name=op.f("fk_registry_drafts_proposed_by")),
        sa.ForeignKeyConstraint(["decided_by"], ["users.id"], name=op.f("fk_registry_drafts_decided_by")),
    )


def downgrade() -> None:
    for table in ("registry_drafts", "ledger_anchors", "ledger_checks"):
        op.drop_table(table)
