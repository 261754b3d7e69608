"""Audiences remember how many people they had when they were last counted, and rules what they come to in full."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0043"
down_revision = "0042"


def upgrade() -> None:
    op.add_column("audiences", sa.Column("expanded_rule", postgresql.JSONB(), nullable=True))
    op.add_column("audiences", sa.Column("size", sa.BigInteger(), nullable=True))
    op.add_column("audiences", sa.Column("reachable", sa.BigInteger(), nullable=True))
    op.add_column("audiences", sa.Column("unreachable", postgresql.JSONB(), nullable=True))
    op.add_column("audiences", sa.Column("counted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("audiences", sa.Column("count_ms", sa.BigInteger(), nullable=True))
    op.add_column("audiences", sa.Column("count_error", sa.Text(), nullable=True))
    op.execute("UPDATE audiences SET expanded_rule = rule")


def downgrade() -> None:
    for column in ("count_error", "count_ms", "counted_at", "unreachable", "reachable", "size", "expanded_rule"):
        op.drop_column("audiences", column)
