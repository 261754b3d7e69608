"""What a country's rule wants kept of erased people for a while, sealed."""

import sqlalchemy as sa
from alembic import op

revision = "0081"
down_revision = "0080"


def upgrade() -> None:
    op.create_table(
        "sealed_records",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("evidence", sa.BigInteger(), nullable=False),
        sa.Column("addresses", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("destroyed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(sealed IS NULL) = (destroyed_at IS NOT NULL)", name=op.f("ck_sealed_records_destroyed")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sealed_records")),
    )
    op.create_index(op.f("ix_sealed_records_contact_id"), "sealed_records", ["contact_id"])
    op.create_index(
        "ix_sealed_records_due", "sealed_records", ["until"], postgresql_where=sa.text("destroyed_at IS NULL")
    )
    op.execute("REVOKE SELECT ON sealed_records FROM kairan_reader")


def downgrade() -> None:
    op.drop_table("sealed_records")
