"""Prices of authentication from abroad, which some markets have."""

from alembic import op

revision = "0021"
down_revision = "0020"

BEFORE = "'marketing', 'utility', 'authentication', 'service'"
AFTER = "'marketing', 'utility', 'authentication', 'authentication_abroad', 'service'"


def upgrade() -> None:
    op.drop_constraint(op.f("ck_rates_category"), "rates")
    op.create_check_constraint(op.f("ck_rates_ratecategory"), "rates", f"category IN ({AFTER})")


def downgrade() -> None:
    op.execute("DELETE FROM rates WHERE category = 'authentication_abroad'")
    op.drop_constraint(op.f("ck_rates_ratecategory"), "rates")
    op.create_check_constraint(op.f("ck_rates_category"), "rates", f"category IN ({BEFORE})")
