"""All consents that rest on an import, a notice or a collection point are made invalid in one action."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0130"
down_revision = "0120"

KINDS = ("import", "notice", "collection_point")
STATUSES = ("waiting", "running", "done", "failed", "cancelled")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "invalidations",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("kind", _words("invalidationkind", KINDS), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("mark", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("status", _words("workstatus", STATUSES), nullable=False),
        sa.Column("from_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("until_seq", sa.BigInteger(), nullable=False),
        sa.Column("cursor", sa.Uuid(), nullable=True),
        sa.Column("waits_for", postgresql.JSONB(), nullable=True),
        sa.Column("people", sa.BigInteger(), nullable=True),
        sa.Column("people_done", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("counts", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invalidations")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_invalidations_created_by")),
    )
    op.create_index(
        "uq_invalidations_open",
        "invalidations",
        ["kind", "target"],
        unique=True,
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.add_column("notices", sa.Column("invalid_at", sa.DateTime(timezone=True), nullable=True))


def _words(name: str, words: tuple[str, ...]) -> sa.Enum:
    return sa.Enum(*words, name=name, native_enum=False, create_constraint=True, length=24)


def downgrade() -> None:
    op.drop_column("notices", "invalid_at")
    op.drop_table("invalidations")
