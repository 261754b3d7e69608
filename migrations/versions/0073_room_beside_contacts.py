"""Room on each page of contacts: every consent raises a contact's version, and is then written beside the row."""

from alembic import op

revision = "0073"
down_revision = "0072"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE contacts SET (fillfactor = 85)")


def downgrade() -> None:
    op.execute("ALTER TABLE contacts RESET (fillfactor)")
