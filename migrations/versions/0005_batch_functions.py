"""Functions that statements about whole batches need: quiet hours, a fixed draw per person, a message's price."""

from alembic import op

revision = "0005"
down_revision = "0003"

FUNCTIONS = (
    """
    CREATE FUNCTION in_quiet_hours(zone text, quiet_from time, quiet_until time, at timestamptz DEFAULT now())
    RETURNS boolean LANGUAGE sql STABLE AS $$
        SELECT CASE
            WHEN quiet_from IS NULL OR quiet_until IS NULL OR quiet_from = quiet_until THEN false
            WHEN quiet_from < quiet_until THEN (at AT TIME ZONE zone)::time >= quiet_from
                                           AND (at AT TIME ZONE zone)::time < quiet_until
            ELSE (at AT TIME ZONE zone)::time >= quiet_from OR (at AT TIME ZONE zone)::time < quiet_until
        END
    $$
    """,
    # The instant itself, or the end of the quiet hours it falls into, in the person's zone.
    """
    CREATE FUNCTION after_quiet_hours(at timestamptz, zone text, quiet_from time, quiet_until time)
    RETURNS timestamptz LANGUAGE sql STABLE AS $$
        SELECT CASE WHEN NOT in_quiet_hours(zone, quiet_from, quiet_until, at) THEN at
            ELSE (((at AT TIME ZONE zone)::date + quiet_until
                   + CASE WHEN (at AT TIME ZONE zone)::time >= quiet_until THEN interval '1 day'
                          ELSE interval '0' END) AT TIME ZONE zone)
        END
    $$
    """,
    """
    CREATE FUNCTION draw(salt text, campaign uuid, contact uuid) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
        SELECT (('x' || encode(substring(sha256(convert_to(salt || ':' || campaign || ':' || contact, 'UTF8')), 1, 7),
                               'hex'))::bit(56)::bigint % 10000)::integer
    $$
    """,
    """
    CREATE FUNCTION price_micros(country text, message_category text, at timestamptz)
    RETURNS bigint LANGUAGE sql STABLE AS $$
        SELECT r.price_micros FROM rates r
         WHERE r.market = country AND r.category = message_category
           AND r.effective_from <= (at AT TIME ZONE 'UTC')::date
         ORDER BY r.effective_from DESC LIMIT 1
    $$
    """,
)


def upgrade() -> None:
    for function in FUNCTIONS:
        op.execute(function)


def downgrade() -> None:
    op.execute("DROP FUNCTION after_quiet_hours(timestamptz, text, time, time)")
    op.execute("DROP FUNCTION in_quiet_hours(text, time, time, timestamptz)")
    op.execute("DROP FUNCTION draw(text, uuid, uuid)")
    op.execute("DROP FUNCTION price_micros(text, text, timestamptz)")
