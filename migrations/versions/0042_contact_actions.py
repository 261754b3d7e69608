"""What people did about messages, by person: a small copy of the facts rules ask about, kept by a trigger.

Facts name the message, rules ask about people; without the copy each count would read every message ever sent.
"""

from alembic import op

revision = "0042"
down_revision = "0041"

STATEMENTS = (
    """
    CREATE TABLE contact_actions (
        event_id bigint NOT NULL CONSTRAINT pk_contact_actions PRIMARY KEY,
        contact_id uuid NOT NULL,
        kind text NOT NULL,
        occurred_at timestamptz NOT NULL,
        campaign_id uuid,
        button_index smallint
    )
    """,
    "CREATE INDEX ix_contact_actions_kind ON contact_actions (kind, occurred_at, contact_id)",
    "CREATE INDEX ix_contact_actions_contact ON contact_actions (contact_id, kind, occurred_at)",
    """
    CREATE FUNCTION note_contact_action() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO contact_actions (event_id, contact_id, kind, occurred_at, campaign_id, button_index)
        SELECT NEW.id, contact_id, NEW.kind, NEW.occurred_at, campaign_id, NEW.button_index
          FROM messages WHERE id = NEW.message_id;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER note_contact_action AFTER INSERT ON message_events FOR EACH ROW
        WHEN (NEW.kind IN ('click', 'reply', 'opt_out') AND NEW.is_bot IS NOT TRUE)
        EXECUTE FUNCTION note_contact_action()
    """,
    """
    INSERT INTO contact_actions (event_id, contact_id, kind, occurred_at, campaign_id, button_index)
    SELECT e.id, m.contact_id, e.kind, e.occurred_at, m.campaign_id, e.button_index
      FROM message_events e JOIN messages m ON m.id = e.message_id
     WHERE e.kind IN ('click', 'reply', 'opt_out') AND e.is_bot IS NOT TRUE
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER note_contact_action ON message_events")
    op.execute("DROP FUNCTION note_contact_action()")
    op.execute("DROP TABLE contact_actions")
