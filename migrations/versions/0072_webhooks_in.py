"""Webhooks from other systems: sources, and what became of each delivery."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0072"
down_revision = "0065"


def with_id() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    ]


def words(name: str, *words: str) -> sa.Enum:
    return sa.Enum(*words, name=name, native_enum=False, create_constraint=True, length=24)


def upgrade() -> None:
    op.create_table(
        "inbound_sources",
        *with_id(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scheme", words("sourcescheme", "standard", "hmac_hex", "hmac_base64"), nullable=False),
        sa.Column("signature_header", sa.Text(), nullable=True),
        sa.Column("id_header", sa.Text(), nullable=True),
        sa.Column("makes", words("sourcemakes", "contact", "order"), nullable=False),
        sa.Column("mapping", JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("items", sa.Text(), nullable=True),
        sa.Column("region", sa.Text(), nullable=True),
        sa.Column("audience_id", sa.Uuid(), nullable=True),
        sa.Column("membership", words("membership", "add", "remove", "mapped"), nullable=True),
        sa.Column("secret_version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_before", sa.LargeBinary(), nullable=True),
        sa.Column("rotated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["audience_id"], ["audiences.id"], name=op.f("fk_inbound_sources_audience_id")),
        sa.ForeignKeyConstraint(
            ["created_by"], ["users.id"], name=op.f("fk_inbound_sources_created_by"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbound_sources")),
        sa.UniqueConstraint("name", name=op.f("uq_inbound_sources_name")),
    )
    op.create_table(
        "inbound_deliveries",
        *with_id(),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("status", words("takenstatus", "applied", "partly", "failed"), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("counts", JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("rejected", JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("tries", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["source_id"], ["inbound_sources.id"], name=op.f("fk_inbound_deliveries_source_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbound_deliveries")),
        sa.UniqueConstraint("source_id", "key", name=op.f("uq_inbound_deliveries_source_id_key")),
    )
    op.create_index(op.f("ix_inbound_deliveries_source_id_id"), "inbound_deliveries", ["source_id", "id"])
    op.create_index(op.f("ix_inbound_deliveries_created_at"), "inbound_deliveries", ["created_at"])
    op.create_index(
        "ix_inbound_deliveries_kept", "inbound_deliveries", ["id"], postgresql_where=sa.text("body IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_table("inbound_deliveries")
    op.drop_table("inbound_sources")
