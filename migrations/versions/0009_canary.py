"""A campaign's first few people, and the verdict the rest waits for."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

VERDICT = sa.Enum("go", "stop", name="canaryverdict", native_enum=False, create_constraint=True, length=24)
COLUMNS = (
    sa.Column("canary_people", sa.BigInteger(), nullable=True),
    sa.Column("canary_bp", sa.BigInteger(), nullable=True),
    sa.Column("canary_thresholds", sa.dialects.postgresql.JSONB(), nullable=True),
    sa.Column("rest_waits", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    sa.Column("canary_verdict", VERDICT, nullable=True),
    sa.Column("canary_decided_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("canary_decided_by", sa.Uuid(), sa.ForeignKey("users.id", name="fk_campaigns_canary_decided_by"), nullable=True),
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for column in COLUMNS:
        op.add_column("campaigns", column)
    op.create_index("ix_messages_canary", "messages", ["campaign_id", "status"], postgresql_where="priority = 4")


def downgrade() -> None:
    op.drop_index("ix_messages_canary", "messages")
    for column in reversed(COLUMNS):
        op.drop_column("campaigns", column.name)
