"""How far an expansion is: people of the audience at the launch, and how many of them have their row."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("campaigns", sa.Column("audience_size", sa.BigInteger(), nullable=True))
    op.add_column("campaigns", sa.Column("expanded_people", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("campaigns", "expanded_people")
    op.drop_column("campaigns", "audience_size")
