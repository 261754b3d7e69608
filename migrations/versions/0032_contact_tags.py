"""Contacts get tags."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    op.add_column(
        "contacts",
        sa.Column("tags", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.create_index("ix_contacts_tags", "contacts", ["tags"], postgresql_using="gin")


def downgrade() -> None:
    op.drop_index("ix_contacts_tags", "contacts")
    op.drop_column("contacts", "tags")
