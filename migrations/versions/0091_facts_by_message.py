"""One index for the facts of messages instead of two.

A fact's key is made of its message, so that both together are as unique as the key alone; and facts of messages sent
together are then written beside each other, where keys alone are spread over all there is.
"""

from alembic import op

revision = "0091"
down_revision = "0090"

TABLE = "message_events"


def upgrade() -> None:
    op.create_unique_constraint(op.f("uq_message_events_message_id_event_key"), TABLE, ["message_id", "event_key"])
    op.drop_constraint(op.f("uq_message_events_event_key"), TABLE)
    op.drop_index("ix_message_events_message_id", TABLE)


def downgrade() -> None:
    op.create_index("ix_message_events_message_id", TABLE, ["message_id"])
    op.create_unique_constraint(op.f("uq_message_events_event_key"), TABLE, ["event_key"])
    op.drop_constraint(op.f("uq_message_events_message_id_event_key"), TABLE)
