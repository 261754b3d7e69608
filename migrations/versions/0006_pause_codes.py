"""Why something is paused, for programs: so that it can resume by itself when the cause is gone."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for table in ("senders", "campaigns"):
        op.add_column(table, sa.Column("pause_code", sa.Text(), nullable=True))


def downgrade() -> None:
    for table in ("senders", "campaigns"):
        op.drop_column(table, "pause_code")
