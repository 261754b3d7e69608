"""When a campaign or a number was last let go on: what was sent before that trips no breaker again."""

import sqlalchemy as sa
from alembic import op

revision = "0100"
down_revision = "0091"

TABLES = ("campaigns", "senders")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in TABLES:
        op.add_column(table, sa.Column("resumed_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "resumed_at")
