"""Somebody vouches for a file's consents, and a second person looks at a sample before many are recorded."""

from alembic import op

revision = "0120"
down_revision = "0110"

BEFORE = "'waiting', 'running', 'paused', 'checked', 'done', 'failed', 'cancelled', 'undoing', 'undone'"
NOW = f"{BEFORE}, 'awaiting'"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _allow(NOW)
    op.execute("""
        ALTER TABLE imports
            ADD COLUMN wanted boolean NOT NULL DEFAULT false,
            ADD COLUMN outs_recorded boolean NOT NULL DEFAULT false,
            ADD COLUMN claims jsonb,
            ADD COLUMN attestation jsonb,
            ADD COLUMN approved_by uuid CONSTRAINT fk_imports_approved_by REFERENCES users,
            ADD COLUMN approved_at timestamptz
    """)
    op.execute("UPDATE imports SET wanted = NOT dry_run")
    op.execute("""
        CREATE TABLE import_samples (
            import_id uuid NOT NULL CONSTRAINT fk_import_samples_import_id REFERENCES imports ON DELETE CASCADE,
            row_number bigint NOT NULL,
            finding varchar(24) CONSTRAINT ck_import_samples_finding CHECK (finding IN ('proven', 'unproven')),
            note text,
            found_by uuid CONSTRAINT fk_import_samples_found_by REFERENCES users,
            found_at timestamptz,
            CONSTRAINT pk_import_samples PRIMARY KEY (import_id, row_number)
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE import_samples")
    op.execute("UPDATE imports SET status = 'cancelled' WHERE status = 'awaiting'")
    op.execute(
        "ALTER TABLE imports DROP COLUMN wanted, DROP COLUMN outs_recorded, DROP COLUMN claims, DROP COLUMN attestation, "
        "DROP COLUMN approved_by, DROP COLUMN approved_at"
    )
    _allow(BEFORE)


def _allow(words: str) -> None:
    op.execute("ALTER TABLE imports DROP CONSTRAINT ck_imports_importstatus")
    op.execute(f"ALTER TABLE imports ADD CONSTRAINT ck_imports_importstatus CHECK (status IN ({words}))")
