"""Ledger rows are checked a statement at a time, so that thousands may be sealed together.

The query columns were computed one by one out of the sealed text, which parsed it twelve times a row, and a trigger
ran for each row. Now whoever writes fills them, and one trigger a statement refuses every row that does not follow
the head, whose hash is wrong, or whose columns say anything else than the text.
"""

from alembic import op

revision = "0010"
down_revision = "0009"

# Column → (field of the core, type).
COLUMNS = {
    "event_id": ("event_id", "uuid"),
    "event_type": ("event_type", "text"),
    "subject_id": ("subject_id", "uuid"),
    "purpose": ("purpose", "text"),
    "controller": ("controller_id", "text"),
    "grade": ("grade", "text"),
    "method": ("method", "text"),
    "next_state": ("next_state", "text"),
    "reason": ("reason", "text"),
    "expires_at": ("expires_at", "text"),
    "recorded_at": ("recorded_at", "text"),
    "source_event_ref": ("source_event_ref", "text"),
}
OPTIONAL = ("subject_id", "grade", "method", "next_state", "reason", "expires_at")

SEAL = """
CREATE FUNCTION seal_consent_events() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET work_mem = '64MB' AS $$
DECLARE
    head consent_chain;
    added record;
BEGIN
    SELECT * INTO head FROM consent_chain WHERE name = 'main' FOR UPDATE;
    SELECT count(*) AS rows, max(seq) AS seq, max(leaf_hash) FILTER (WHERE is_last) AS leaf_hash,
           max(recorded_at COLLATE "C") AS recorded_at, min(seq) FILTER (WHERE NOT is_sealed) AS unsealed,
           min(seq) FILTER (WHERE recorded_at::timestamptz < coalesce(before_at::timestamptz, head.recorded_at))
               AS early,
           min(seq) FILTER (WHERE seq <> head.seq + place OR said_seq <> seq
                            OR prev <> coalesce(before_hash, head.leaf_hash)) AS loose
      INTO added
      FROM (SELECT row_of.*, row_number() OVER w AS place, lag(leaf_hash) OVER w AS before_hash,
                   lag(recorded_at) OVER w AS before_at, lead(seq) OVER w IS NULL AS is_last
              FROM (SELECT e.seq, e.leaf_hash, e.recorded_at, said.seq AS said_seq, said.prev,
                           e.leaf_hash = encode(sha256('\\x00'::bytea || convert_to(e.core, 'UTF8')), 'hex')
                           AND ({columns}) IS NOT DISTINCT FROM ({fields}) AS is_sealed
                      FROM new_events e,
                           json_to_record(e.core::json) AS said (seq bigint, prev text, {types})
                    OFFSET 0) row_of
            WINDOW w AS (ORDER BY seq)) each;
    IF added.rows = 0 THEN
        RETURN NULL;
    END IF;
    IF added.loose IS NOT NULL THEN
        RAISE EXCEPTION 'consent event % does not follow the head of the ledger (%)', added.loose, head.seq
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF added.early IS NOT NULL THEN
        RAISE EXCEPTION 'consent event % is recorded before its predecessor', added.early
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF added.unsealed IS NOT NULL THEN
        RAISE EXCEPTION 'consent event % is not what its text says', added.unsealed
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    UPDATE consent_chain
       SET seq = added.seq, leaf_hash = added.leaf_hash, recorded_at = added.recorded_at::timestamptz
     WHERE name = 'main';
    RETURN NULL;
END
$$
""".format(
    columns=", ".join(f"e.{column}" for column in COLUMNS),
    fields=", ".join(f"said.{field}" for field, _ in COLUMNS.values()),
    types=", ".join(f"{field} {kind}" for field, kind in COLUMNS.values()),
)

SEAL_EACH = """
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
$$
"""


def upgrade() -> None:
    op.execute("DROP TRIGGER seal ON consent_events")
    op.execute("DROP FUNCTION seal_consent_event()")
    for column in COLUMNS:
        op.execute(f"ALTER TABLE consent_events ALTER COLUMN {column} DROP EXPRESSION")
    op.execute(SEAL)
    op.execute(
        "CREATE TRIGGER seal AFTER INSERT ON consent_events REFERENCING NEW TABLE AS new_events "
        "FOR EACH STATEMENT EXECUTE FUNCTION seal_consent_events()"
    )
    op.execute("ALTER TABLE consent_events ENABLE ALWAYS TRIGGER seal")
    # Rows of an import and pieces of evidence are found by what they belong to; an id and an instant of their own
    # cost an index and 24 bytes each, millions of times.
    op.execute("ALTER TABLE import_rows DROP COLUMN id, DROP COLUMN created_at")
    op.execute("ALTER TABLE import_rows DROP CONSTRAINT uq_import_rows_import_id_row_number")
    op.execute("ALTER TABLE import_rows ADD CONSTRAINT pk_import_rows PRIMARY KEY (import_id, row_number)")
    op.execute("ALTER TABLE consent_evidence DROP COLUMN id, DROP COLUMN created_at")
    op.execute("ALTER TABLE consent_evidence DROP CONSTRAINT uq_consent_evidence_event_id")
    op.execute("ALTER TABLE consent_evidence ADD CONSTRAINT pk_consent_evidence PRIMARY KEY (event_id)")
    op.execute("ALTER TABLE consent_state DROP COLUMN id, DROP COLUMN created_at")
    op.execute("ALTER TABLE consent_state DROP CONSTRAINT uq_consent_state_contact_id_purpose")
    op.execute("ALTER TABLE consent_state ADD CONSTRAINT pk_consent_state PRIMARY KEY (contact_id, purpose)")


def downgrade() -> None:
    for table, unique in (
        ("import_rows", "import_id, row_number"),
        ("consent_evidence", "event_id"),
        ("consent_state", "contact_id, purpose"),
    ):
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT pk_{table}")
        op.execute(f"ALTER TABLE {table} ADD COLUMN id uuid DEFAULT uuidv7() CONSTRAINT pk_{table} PRIMARY KEY")
        op.execute(f"ALTER TABLE {table} ADD COLUMN created_at timestamptz NOT NULL DEFAULT now()")
        name = "_".join(["uq", table, *unique.split(", ")])
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE ({unique})")
    op.execute("DROP TRIGGER seal ON consent_events")
    op.execute("DROP FUNCTION seal_consent_events()")
    op.execute("ALTER TABLE consent_evidence DROP CONSTRAINT fk_consent_evidence_event_id")
    for column, (field, kind) in COLUMNS.items():
        op.execute(f"ALTER TABLE consent_events DROP COLUMN {column}")
        null = "" if column in OPTIONAL else "NOT NULL"
        cast = "" if kind == "text" else f"::{kind}"
        op.execute(
            f"ALTER TABLE consent_events ADD COLUMN {column} {kind} {null} "
            f"GENERATED ALWAYS AS (((core::jsonb)->>'{field}'){cast}) STORED"
        )
    for column in ("event_id", "source_event_ref"):
        op.execute(f"ALTER TABLE consent_events ADD CONSTRAINT uq_consent_events_{column} UNIQUE ({column})")
    op.execute("CREATE INDEX ix_consent_events_subject ON consent_events (subject_id, seq DESC)")
    op.execute(
        "ALTER TABLE consent_evidence ADD CONSTRAINT fk_consent_evidence_event_id "
        "FOREIGN KEY (event_id) REFERENCES consent_events (event_id)"
    )
    op.execute(SEAL_EACH)
    op.execute(
        "CREATE TRIGGER seal BEFORE INSERT ON consent_events FOR EACH ROW EXECUTE FUNCTION seal_consent_event()"
    )
    op.execute("ALTER TABLE consent_events ENABLE ALWAYS TRIGGER seal")
