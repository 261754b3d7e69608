"""Who counts against the portfolio's allowance of people per 24 hours."""

import sqlalchemy as sa
from alembic import op

revision = "0051"
down_revision = "0050"


def upgrade() -> None:
    op.create_table(
        "people_reached",
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("reached_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("before_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.id"], name="fk_people_reached_contact_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("contact_id", name="pk_people_reached"),
    )
    op.create_index("ix_people_reached_reached_at", "people_reached", ["reached_at"])


def downgrade() -> None:
    op.drop_table("people_reached")
