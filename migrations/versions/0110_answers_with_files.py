"""Answers may bring a file; our copy of a file can be deleted while what was sent stays known."""

from alembic import op

revision = "0110"
down_revision = "0100"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE replies ADD COLUMN media_id uuid CONSTRAINT fk_replies_media_id REFERENCES media")
    op.execute("CREATE INDEX ix_replies_media ON replies (media_id) WHERE media_id IS NOT NULL")
    op.execute("ALTER TABLE media ALTER COLUMN path DROP NOT NULL")


def downgrade() -> None:
    op.execute("ALTER TABLE replies DROP COLUMN media_id")
    op.execute("UPDATE media SET path = '' WHERE path IS NULL")
    op.execute("ALTER TABLE media ALTER COLUMN path SET NOT NULL")
