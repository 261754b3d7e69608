"""A second person approves packages that name many people."""

import sqlalchemy as sa
from alembic import op

revision = "0061"
down_revision = "0060"


def upgrade() -> None:
    op.add_column("exports", sa.Column("approved_by", sa.Uuid(), nullable=True))
    op.add_column("exports", sa.Column("approved_at", sa.DateTime(timezone=True), nullable=True))
    op.create_foreign_key(op.f("fk_exports_approved_by"), "exports", "users", ["approved_by"], ["id"])


def downgrade() -> None:
    op.drop_column("exports", "approved_at")
    op.drop_column("exports", "approved_by")
