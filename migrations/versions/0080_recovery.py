"""Who was erased, and when a database was found with another ledger than the one signed last."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0080"
down_revision = "0073"

# Those erased before have the hashes of their addresses in what refuses them.
EARLIER = """
    INSERT INTO erasures (contact_id, seq, leaf_hash, reason, cause, refs, erased_at)
    SELECT e.subject_id, e.seq, e.leaf_hash, coalesce(e.reason, 'erasure'),
           coalesce(CAST(e.core AS jsonb)->'refs'->>'dsar', CAST(e.event_id AS text)),
           coalesce((SELECT jsonb_agg(DISTINCT jsonb_build_array(s.ref, s.key_version))
                       FROM suppressions s JOIN consent_events c ON c.seq = s.created_seq
                      WHERE c.subject_id = e.subject_id AND s.scope = '*' AND s.lifted_at IS NULL), '[]'),
           CAST(e.recorded_at AS timestamptz)
      FROM consent_events e WHERE e.event_type = 'ERASED' AND e.subject_id IS NOT NULL
"""


def with_id() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    ]


def upgrade() -> None:
    op.create_table(
        "erasures",
        *with_id(),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("leaf_hash", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("refs", JSONB(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    op.create_index(op.f("ix_erasures_contact_id"), "erasures", ["contact_id"])
    op.create_index(op.f("ix_erasures_seq"), "erasures", ["seq"])
    op.execute(EARLIER)
    op.create_table(
        "ledger_forks",
        *with_id(),
        sa.Column("found_size", sa.BigInteger(), nullable=False),
        sa.Column("signed_size", sa.BigInteger(), nullable=False),
        sa.Column("signed_root", sa.Text(), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_by", sa.Uuid(), nullable=True),
        sa.Column("facts", JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.ForeignKeyConstraint(["closed_by"], ["users.id"], name=op.f("fk_ledger_forks_closed_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_forks")),
    )
    # One is open at most.
    op.create_index(
        "uq_ledger_forks_open",
        "ledger_forks",
        [sa.text("(closed_at IS NULL)")],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("ledger_forks")
    op.drop_table("erasures")
