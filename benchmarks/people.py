"""Made-up people with a number each and a provable consent, put straight into the database.

Contacts by one statement; consents through the product's own service, so that the ledger is a ledger.
"""

from uuid import UUID

from benchmarks.harness import Stack
from core.clock import utc_now
from core.consent.acts import Act, ActorType, Method
from core.consent.state import EventType
from core.errors import Unavailable
from core.services import consents

CHUNK = 1000

# Numbers of a mobile range in Germany; nobody is called, the simulator alone hears them.
_CONTACTS = """
    WITH made AS (
        INSERT INTO contacts (name, language, country, time_zone, attributes)
        SELECT 'Person ' || n, 'de', 'DE', 'Europe/Berlin', jsonb_build_object('number', n)
          FROM generate_series($1::bigint, $2::bigint) n
     RETURNING id, '+49151' || lpad(attributes->>'number', 8, '0') AS number)
    INSERT INTO contact_addresses (contact_id, kind, value, match_key)
    SELECT id, 'phone', number, number FROM made
"""


async def seed(stack: Stack, count: int, *, consenting: int | None = None) -> None:
    """Add `count` people behind those there are; the first `consenting` of them (default all) agreed to marketing."""
    async with stack.database() as database:
        known = await database.fetchval("SELECT count(*) FROM contacts")
        await database.execute(_CONTACTS, known, known + count - 1)
        ids = await database.fetch(
            "SELECT id FROM contacts WHERE (attributes->>'number')::bigint >= $1 ORDER BY id LIMIT $2",
            known,
            count if consenting is None else consenting,
        )
    await _consent(stack, [row["id"] for row in ids])
    async with stack.database() as database:
        await database.execute("ANALYZE")


async def _consent(stack: Stack, ids: list[UUID]) -> None:
    async with stack.sessions() as session:
        notice = await consents.current_notice(session, "marketing")
    if notice is None:
        raise Unavailable("the installation has no notice for marketing")
    for at in range(0, len(ids), CHUNK):
        acts = [act_of(contact_id, notice.id, f"form-{contact_id}") for contact_id in ids[at : at + CHUNK]]
        async with stack.sessions.begin() as session:
            await consents.record(session, acts, keyring=stack.keyring, settings=stack.settings, now=utc_now())


def act_of(contact_id: UUID, notice_id: UUID, record: str) -> Act:
    """A provable consent to marketing, given in a web form."""
    return Act(
        contact_id=contact_id,
        event_type=EventType.GRANTED,
        purpose="marketing",
        source="web_form",
        source_key=record,
        occurred_at=utc_now(),
        actor=ActorType.DATA_SUBJECT,
        method=Method.WEB_FORM,
        collection_point="checkout",
        notice_id=notice_id,
        evidence={"record": record},
    )
