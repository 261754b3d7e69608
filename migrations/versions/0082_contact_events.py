"""What people did elsewhere, and sources that tell it."""

import sqlalchemy as sa
from alembic import op

revision = "0082"
down_revision = "0081"

CHECK = "ALTER TABLE inbound_sources ADD CONSTRAINT {name} CHECK (makes IN ({words}))"


def upgrade() -> None:
    op.create_table(
        "contact_events",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.id"], name=op.f("fk_contact_events_contact_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contact_events")),
        sa.UniqueConstraint("name", "key", name=op.f("uq_contact_events_name_key")),
    )
    op.create_index("ix_contact_events_name", "contact_events", ["name", "occurred_at", "contact_id"])
    op.create_index("ix_contact_events_contact", "contact_events", ["contact_id", "name", "occurred_at"])
    _may_make("'contact', 'order', 'event'")


def downgrade() -> None:
    op.execute("DELETE FROM inbound_sources WHERE makes = 'event'")
    _may_make("'contact', 'order'")
    op.drop_table("contact_events")


def _may_make(words: str) -> None:
    name = op.f("ck_inbound_sources_sourcemakes")
    op.execute(f"ALTER TABLE inbound_sources DROP CONSTRAINT {name}")
    op.execute(CHECK.format(name=name, words=words))
