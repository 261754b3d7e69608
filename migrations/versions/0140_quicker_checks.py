"""The checks of rows that come by the thousand look once at what the rows have in common.

A chunk of an import names one import and one list, and its events have one instant: each was looked up and read anew
for every row, a tenth of what the checks cost.
"""

from alembic import op

revision = "0140"
down_revision = "0130"

PARENTS = """
CREATE OR REPLACE FUNCTION refuse_rows_of_nothing() RETURNS trigger LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    is_lost boolean;
BEGIN
    FOR place IN 0 .. TG_NARGS / 3 - 1 LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM ({named}) m'
                       ' WHERE NOT EXISTS (SELECT FROM %2$I p WHERE p.%3$I = m.%1$I))',
                       TG_ARGV[3 * place], TG_ARGV[3 * place + 1], TG_ARGV[3 * place + 2]) INTO is_lost;
        IF is_lost THEN
            RAISE EXCEPTION 'a row of % names one of % that is not there', TG_TABLE_NAME, TG_ARGV[3 * place + 1]
                USING ERRCODE = 'foreign_key_violation';
        END IF;
    END LOOP;
    RETURN NULL;
END
$$
"""
EACH = "SELECT %1$I FROM made WHERE %1$I IS NOT NULL"
DISTINCT = "SELECT DISTINCT %1$I FROM made WHERE %1$I IS NOT NULL"

# An instant that is written as its predecessor's is, is not before it.
LATER = "recorded_at IS DISTINCT FROM before_at\n                             AND "
SEAL = """
CREATE OR REPLACE FUNCTION seal_consent_events() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET work_mem = '64MB' AS $$
DECLARE
    head consent_chain;
    added record;
BEGIN
    SELECT * INTO head FROM consent_chain WHERE name = 'main' FOR UPDATE;
    SELECT count(*) AS rows, max(seq) AS seq, max(leaf_hash) FILTER (WHERE is_last) AS leaf_hash,
           max(recorded_at COLLATE "C") AS recorded_at, min(seq) FILTER (WHERE NOT is_sealed) AS unsealed,
           min(seq) FILTER (WHERE {later}recorded_at::timestamptz
                                  < coalesce(before_at::timestamptz, head.recorded_at)) AS early,
           min(seq) FILTER (WHERE seq <> head.seq + place OR said_seq <> seq
                            OR prev <> coalesce(before_hash, head.leaf_hash)) AS loose
      INTO added
      FROM (SELECT row_of.*, row_number() OVER w AS place, lag(leaf_hash) OVER w AS before_hash,
                   lag(recorded_at) OVER w AS before_at, lead(seq) OVER w IS NULL AS is_last
              FROM (SELECT e.seq, e.leaf_hash, e.recorded_at, said.seq AS said_seq, said.prev,
                           e.leaf_hash = encode(sha256('\\x00'::bytea || convert_to(e.core, 'UTF8')), 'hex')
                           AND (e.event_id, e.event_type, e.subject_id, e.purpose, e.controller, e.grade, e.method,
                                e.next_state, e.reason, e.expires_at, e.recorded_at, e.source_event_ref)
                               IS NOT DISTINCT FROM
                               (said.event_id, said.event_type, said.subject_id, said.purpose, said.controller_id,
                                said.grade, said.method, said.next_state, said.reason, said.expires_at,
                                said.recorded_at, said.source_event_ref) AS is_sealed
                      FROM new_events e,
                           json_to_record(e.core::json) AS said (
                               seq bigint, prev text, event_id uuid, event_type text, subject_id uuid, purpose text,
                               controller_id text, grade text, method text, next_state text, reason text,
                               expires_at text, recorded_at text, source_event_ref text)
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
"""


def upgrade() -> None:
    op.execute(PARENTS.format(named=DISTINCT))
    op.execute(SEAL.format(later=LATER))


def downgrade() -> None:
    op.execute(PARENTS.format(named=EACH))
    op.execute(SEAL.format(later=""))
