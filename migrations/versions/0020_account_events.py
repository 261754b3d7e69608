"""What the provider says about templates, numbers and the account; orphans; what may pause a number."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0020"
down_revision = "0011"

KINDS = (
    "template_status", "template_quality", "template_category", "template_category_notice", "template_content",
    "number_limit", "number_name", "capability", "alert", "review", "account", "security", "orphans",
)


def upgrade() -> None:
    op.create_table(
        "account_events",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), primary_key=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(*KINDS, name="accounteventkind", native_enum=False, create_constraint=True, length=24),
            nullable=False,
        ),
        sa.Column("word", sa.Text(), nullable=False),
        sa.Column(
            "severity",
            sa.Enum("info", "warning", "critical", name="severity", native_enum=False, create_constraint=True, length=24),
            nullable=False,
        ),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("aspect", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event_key", sa.Uuid(), nullable=False, unique=True),
        sa.Column("value", JSONB(), nullable=False),
        sa.Column("effect", sa.Text(), nullable=True),
    )
    op.create_index("ix_account_events_aspect_occurred_at", "account_events", ["aspect", "occurred_at"])
    op.add_column("senders", sa.Column("verified_name", sa.Text(), nullable=True))
    for name, default in (("pause_on_red", "false"), ("pause_on_orphans", "true")):
        op.add_column("senders", sa.Column(name, sa.Boolean(), server_default=sa.text(default), nullable=False))
    op.add_column("parked_statuses", sa.Column("phone_number_id", sa.Text(), nullable=True))
    op.add_column("parked_statuses", sa.Column("alerted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_parked_statuses_young", "parked_statuses", ["created_at"], postgresql_where=sa.text("alerted_at IS NULL")
    )
    # Every index on the raw bodies is paid for before the provider gets its answer, so only what is asked for stays.
    op.drop_index("ix_webhook_events_xid", table_name="webhook_events")
    op.create_index(
        "ix_webhook_events_set_aside", "webhook_events", ["id"], postgresql_where=sa.text("status = 'set_aside'")
    )
    op.create_index("ix_webhook_events_created_at", "webhook_events", ["created_at"], postgresql_using="brin")


def downgrade() -> None:
    op.drop_index("ix_webhook_events_created_at", table_name="webhook_events")
    op.drop_index("ix_webhook_events_set_aside", table_name="webhook_events")
    op.create_index("ix_webhook_events_xid", "webhook_events", ["xid"])
    op.drop_index("ix_parked_statuses_young", table_name="parked_statuses")
    for name in ("alerted_at", "phone_number_id"):
        op.drop_column("parked_statuses", name)
    for name in ("pause_on_orphans", "pause_on_red", "verified_name"):
        op.drop_column("senders", name)
    op.drop_table("account_events")
