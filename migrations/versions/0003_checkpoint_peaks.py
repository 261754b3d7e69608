"""Checkpoints keep the tree's peaks, so that the next one reads only what came after."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("consent_checkpoints", sa.Column("peaks", JSONB(), server_default=sa.text("'[]'"), nullable=False))


def downgrade() -> None:
    op.drop_column("consent_checkpoints", "peaks")
