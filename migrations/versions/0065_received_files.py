"""Files people sent: named when the webhook is recorded, fetched from the provider afterwards."""

import sqlalchemy as sa
from alembic import op

revision = "0065"
down_revision = "0061"

STATES = ("waiting", "stored", "too_large", "lost", "removed")


def upgrade() -> None:
    op.create_table(
        "received_files",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("inbound_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("mime_type", sa.Text(), nullable=True),
        sa.Column("filename", sa.Text(), nullable=True),
        sa.Column(
            "status",
            sa.Enum(*STATES, name="receivedstatus", native_enum=False, create_constraint=True, length=24),
            nullable=False,
        ),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["inbound_id"], ["inbound_messages.id"], name=op.f("fk_received_files_inbound_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_received_files")),
        sa.UniqueConstraint("inbound_id", name=op.f("uq_received_files_inbound_id")),
    )
    op.create_index(
        "ix_received_files_waiting", "received_files", ["next_at"], postgresql_where=sa.text("status = 'waiting'")
    )


def downgrade() -> None:
    op.drop_table("received_files")
