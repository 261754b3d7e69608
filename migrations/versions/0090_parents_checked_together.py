"""The parents of rows that come by the thousand are checked once a statement, as those of messages are.

A foreign key asks once per row and locks the parent's row each time: about 28 µs, eight times for a row of an import,
which was two thirds of what it cost PostgreSQL. The keys stay declared, NOT ENFORCED; the triggers below keep the same
rule for all rows of a statement together, and do what ON DELETE says.
"""

from alembic import op

revision = "0090"
down_revision = "0082"

# Child, its column, the parent, the parent's key, what becomes of the child when its parent goes.
KEYS = (
    ("audience_members", "audience_id", "audiences", "id", "delete"),
    ("audience_members", "contact_id", "contacts", "id", "delete"),
    ("audience_members", "import_id", "imports", "id", "clear"),
    ("consent_evidence", "event_id", "consent_events", "event_id", None),  # nobody can delete those
    ("consent_state", "contact_id", "contacts", "id", "delete"),
    ("contact_addresses", "contact_id", "contacts", "id", "delete"),
    ("contacts", "import_id", "imports", "id", "clear"),
    ("import_rows", "import_id", "imports", "id", "delete"),
    ("links", "message_id", "messages", "id", "delete"),
)

# Without the settings the planner may read a whole table of parents for the rows of one statement.
FUNCTIONS = """
CREATE FUNCTION refuse_rows_of_nothing() RETURNS trigger LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    is_lost boolean;
BEGIN
    FOR place IN 0 .. TG_NARGS / 3 - 1 LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM made m WHERE m.%1$I IS NOT NULL
                                          AND NOT EXISTS (SELECT FROM %2$I p WHERE p.%3$I = m.%1$I))',
                       TG_ARGV[3 * place], TG_ARGV[3 * place + 1], TG_ARGV[3 * place + 2]) INTO is_lost;
        IF is_lost THEN
            RAISE EXCEPTION 'a row of % names one of % that is not there', TG_TABLE_NAME, TG_ARGV[3 * place + 1]
                USING ERRCODE = 'foreign_key_violation';
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

CREATE FUNCTION refuse_parent_of_nothing() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_there boolean;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE %I = ($1).%I FOR KEY SHARE)', TG_ARGV[1], TG_ARGV[2],
                   TG_ARGV[0]) INTO is_there USING NEW;
    IF NOT is_there THEN
        RAISE EXCEPTION 'a row of % names one of % that is not there', TG_TABLE_NAME, TG_ARGV[1]
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION wait_for_inserts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    FOR place IN 0 .. TG_NARGS - 1 LOOP
        EXECUTE format('LOCK TABLE %I IN SHARE MODE', TG_ARGV[place]);
    END LOOP;
    RETURN NULL;
END
$$;

CREATE FUNCTION take_children_along() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    FOR place IN 0 .. TG_NARGS / 3 - 1 LOOP
        IF TG_ARGV[3 * place + 2] = 'delete' THEN
            EXECUTE format('DELETE FROM %I WHERE %I = $1', TG_ARGV[3 * place], TG_ARGV[3 * place + 1]) USING OLD.id;
        ELSE
            EXECUTE format('UPDATE %1$I SET %2$I = NULL WHERE %2$I = $1', TG_ARGV[3 * place], TG_ARGV[3 * place + 1])
                USING OLD.id;
        END IF;
    END LOOP;
    RETURN OLD;
END
$$;
"""


def _quoted(words: list[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in FUNCTIONS.strip().split("\n\n"):
        op.execute(statement)
    named: dict[str, list[str]] = {}
    followed: dict[str, list[str]] = {}
    for child, column, parent, key, fate in KEYS:
        op.execute(f"ALTER TABLE {child} ALTER CONSTRAINT fk_{child}_{column} NOT ENFORCED")
        op.execute(
            f"CREATE TRIGGER {column}_stays_true BEFORE UPDATE OF {column} ON {child} FOR EACH ROW"
            f" WHEN (NEW.{column} IS DISTINCT FROM OLD.{column} AND NEW.{column} IS NOT NULL)"
            f" EXECUTE FUNCTION refuse_parent_of_nothing('{column}', '{parent}', '{key}')"
        )
        named.setdefault(child, []).extend([column, parent, key])
        if fate is not None:
            followed.setdefault(parent, []).extend([child, column, fate])
    for child, those in named.items():
        op.execute(
            f"CREATE TRIGGER parents_are_there AFTER INSERT ON {child} REFERENCING NEW TABLE AS made"
            f" FOR EACH STATEMENT EXECUTE FUNCTION refuse_rows_of_nothing({_quoted(those)})"
        )
    for parent, those in followed.items():
        # Before the first row is locked: who inserts children does not lock their parents.
        op.execute(
            f"CREATE TRIGGER children_are_in BEFORE DELETE ON {parent} FOR EACH STATEMENT"
            f" EXECUTE FUNCTION wait_for_inserts({_quoted(those[::3])})"
        )
        op.execute(
            f"CREATE TRIGGER children_go_along BEFORE DELETE ON {parent} FOR EACH ROW"
            f" EXECUTE FUNCTION take_children_along({_quoted(those)})"
        )


def downgrade() -> None:
    for parent in {parent for _, _, parent, _, fate in KEYS if fate is not None}:
        op.execute(f"DROP TRIGGER children_are_in ON {parent}")
        op.execute(f"DROP TRIGGER children_go_along ON {parent}")
    for child in {child for child, *_ in KEYS}:
        op.execute(f"DROP TRIGGER parents_are_there ON {child}")
    for child, column, *_ in KEYS:
        op.execute(f"DROP TRIGGER {column}_stays_true ON {child}")
        op.execute(f"ALTER TABLE {child} ALTER CONSTRAINT fk_{child}_{column} ENFORCED")
    op.execute(
        "DROP FUNCTION refuse_rows_of_nothing(), refuse_parent_of_nothing(), wait_for_inserts(), take_children_along()"
    )
