"""Imports can be checked first, paused, cancelled half-way, and taken back."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"

BEFORE = ("waiting", "running", "done", "failed", "cancelled")
NOW = (*BEFORE, "paused", "checked", "undoing", "undone")


def _allow(name: str, words: tuple[str, ...]) -> None:
    listed = ", ".join(f"'{word}'" for word in words)
    op.execute(f"ALTER TABLE imports ADD CONSTRAINT {name} CHECK (status IN ({listed}))")


def upgrade() -> None:
    op.execute("ALTER TABLE imports DROP CONSTRAINT ck_imports_workstatus")
    _allow("ck_imports_importstatus", NOW)
    op.add_column("imports", sa.Column("dry_run", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("imports", sa.Column("rows_read", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("imports", sa.Column("notes", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False))
    op.add_column("imports", sa.Column("audience_name", sa.Text(), nullable=True))
    op.add_column("imports", sa.Column("undone", postgresql.JSONB(), nullable=True))
    op.create_table(
        "import_changes",
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("before", postgresql.JSONB(), nullable=False),
        sa.Column("after", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"], ["imports.id"], name="fk_import_changes_import_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.id"], name="fk_import_changes_contact_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("import_id", "contact_id", name="pk_import_changes"),
    )
    op.create_index("ix_import_changes_contact_id", "import_changes", ["contact_id"])


def downgrade() -> None:
    op.drop_table("import_changes")
    for column in ("undone", "audience_name", "notes", "rows_read", "dry_run"):
        op.drop_column("imports", column)
    op.execute("ALTER TABLE imports DROP CONSTRAINT ck_imports_importstatus")
    op.execute("UPDATE imports SET status = 'cancelled' WHERE status IN ('paused', 'checked', 'undoing', 'undone')")
    _allow("ck_imports_workstatus", BEFORE)
