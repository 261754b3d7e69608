"""The ledger's triggers, and two roles that may not do everything the owner may."""

from alembic import op

revision = "0002"
down_revision = "0001"

APPEND_ONLY = ("consent_events", "message_events", "audit_log", "link_hits", "conversions")

LEDGER = """
INSERT INTO consent_chain (name, seq, leaf_hash, recorded_at)
VALUES ('main', 0, repeat('0', 64), '-infinity');

-- Locks the chain's head until the transaction ends; the caller seals the next events on top of it.
CREATE FUNCTION lock_chain_head(OUT head_seq bigint, OUT head_hash text, OUT head_at timestamptz, OUT installation uuid)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT seq, leaf_hash, recorded_at, installation_id FROM consent_chain WHERE name = 'main' FOR UPDATE
$$;

-- A row is accepted only on top of the head, and its hash is computed here, not by whoever writes it.
CREATE FUNCTION seal_consent_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    head consent_chain;
    sealed jsonb := NEW.core::jsonb;
BEGIN
    SELECT * INTO head FROM consent_chain WHERE name = 'main' FOR UPDATE;
    IF NEW.seq <> head.seq + 1 OR (sealed->>'seq')::bigint <> NEW.seq OR sealed->>'prev' <> head.leaf_hash THEN
        RAISE EXCEPTION 'consent event % does not follow the head of the ledger (%)', NEW.seq, head.seq
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF (sealed->>'recorded_at')::timestamptz < head.recorded_at THEN
        RAISE EXCEPTION 'consent event % is recorded before its predecessor', NEW.seq
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    NEW.leaf_hash := encode(sha256('\\x00'::bytea || convert_to(NEW.core, 'UTF8')), 'hex');
    UPDATE consent_chain
       SET seq = NEW.seq, leaf_hash = NEW.leaf_hash, recorded_at = (sealed->>'recorded_at')::timestamptz
     WHERE name = 'main';
    RETURN NEW;
END
$$;

CREATE TRIGGER seal BEFORE INSERT ON consent_events FOR EACH ROW EXECUTE FUNCTION seal_consent_event();

ALTER TABLE consent_events ENABLE ALWAYS TRIGGER seal;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
"""

ROLES = """

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'kairan_app') THEN
        CREATE ROLE kairan_app NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'kairan_reader') THEN
        CREATE ROLE kairan_reader NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- another database of the same server was migrated at the same instant
END
$$;

DO $$
BEGIN
    IF NOT (pg_has_role(current_user, 'kairan_app', 'SET') AND pg_has_role(current_user, 'kairan_reader', 'SET')) THEN
        EXECUTE format('GRANT kairan_app, kairan_reader TO %I', current_user);
    END IF;
END
$$;

GRANT USAGE ON SCHEMA public TO kairan_app, kairan_reader;

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO kairan_app;

GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO kairan_app;

GRANT EXECUTE ON FUNCTION lock_chain_head() TO kairan_app;

REVOKE INSERT, UPDATE, DELETE ON consent_chain, alembic_version FROM kairan_app;

GRANT SELECT ON ALL TABLES IN SCHEMA public TO kairan_reader;

REVOKE SELECT ON users, sessions, api_keys, idempotency_keys FROM kairan_reader;

ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO kairan_app;

ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO kairan_app;

ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO kairan_reader;
"""


def upgrade() -> None:
    for statement in (LEDGER + ROLES).strip().split("\n\n"):  # the driver takes one statement at a time
        op.execute(statement)
    for table in APPEND_ONLY:
        op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM kairan_app")
    for event in ("UPDATE OR DELETE", "TRUNCATE"):
        each = "STATEMENT" if event == "TRUNCATE" else "ROW"
        name = f"refuse_{event.split()[0].lower()}"
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {event} ON consent_events FOR EACH {each} EXECUTE FUNCTION refuse_change()"
        )
        op.execute(f"ALTER TABLE consent_events ENABLE ALWAYS TRIGGER {name}")


def downgrade() -> None:
    op.execute("DROP TRIGGER seal ON consent_events")
    op.execute("DROP TRIGGER refuse_update ON consent_events")
    op.execute("DROP TRIGGER refuse_truncate ON consent_events")
    op.execute("DROP FUNCTION seal_consent_event(), lock_chain_head(), refuse_change()")
    op.execute("DELETE FROM consent_chain")
    op.execute("DROP OWNED BY kairan_app, kairan_reader")
