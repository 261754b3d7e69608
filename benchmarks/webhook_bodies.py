"""Messages the provider has accepted, put straight into the database, and what it then reports on them."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.harness import FIRST_NUMBER, WABA, Stack
from benchmarks.people import seed

WORDS = ("sent", "delivered", "read")
FIRST_INSTANT = 1_793_500_000
METADATA = {"display_phone_number": "15550000000", "phone_number_id": str(FIRST_NUMBER)}

_MESSAGES = """
    WITH number AS (
        INSERT INTO senders (phone_number_id, waba_id, display_number, name)
        VALUES ($1, $2, '+15550000000', 'Benchmark')
            ON CONFLICT (phone_number_id) DO UPDATE SET name = excluded.name RETURNING id)
    INSERT INTO messages (kind, priority, contact_id, sender_id, purpose, category, country, time_zone, queued_on,
                          status, accepted_at, wamid)
    SELECT 'triggered', 2, c.id, number.id, 'marketing', 'marketing', 'DE', 'Europe/Berlin', current_date,
           'accepted', now(), 'wamid.HBgNNDkxNTEw' || replace(c.id::text, '-', '')
      FROM contacts c, number
 RETURNING id, wamid
"""

Sent = tuple[str, str]  # our id, the provider's


async def accepted_messages(stack: Stack, count: int) -> list[Sent]:
    """One message to each of `count` new people, accepted and not yet reported on."""
    await seed(stack, count, consenting=0)
    async with stack.database() as database:
        rows = await database.fetch(_MESSAGES, str(FIRST_NUMBER), WABA)
        await database.execute("ANALYZE")
    return [(str(row["id"]), row["wamid"]) for row in rows]


def statuses(sent: Iterable[Sent], word: str) -> list[dict[str, object]]:
    """One status of each, as the provider words it; the price comes with `delivered`."""
    more: dict[str, object] = {}
    if word == "delivered":
        more = {"pricing": {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "marketing"}}
    at = str(FIRST_INSTANT + WORDS.index(word))
    return [
        {
            "id": wamid,
            "status": word,
            "timestamp": at,
            "recipient_id": f"49151{place:08}",
            "recipient_user_id": "DE.9a8b7c6d5e4f3a2b",
            "biz_opaque_callback_data": message_id,
            **more,
        }
        for place, (message_id, wamid) in enumerate(sent)
    ]


def body(**value: object) -> bytes:
    change = {"field": "messages", "value": {"messaging_product": "whatsapp", "metadata": METADATA, **value}}
    envelope = {"object": "whatsapp_business_account", "entry": [{"id": WABA, "changes": [change]}]}
    return json.dumps(envelope, separators=(",", ":")).encode()


def stop(place: int) -> bytes:
    """Somebody new writes STOP."""
    number = f"49170{place:07}"
    said = {
        "from": number,
        "id": f"wamid.STOP{place:08}",
        "timestamp": str(FIRST_INSTANT),
        "type": "text",
        "text": {"body": "STOP"},
    }
    return body(contacts=[{"profile": {"name": "Ana"}, "wa_id": number}], messages=[said])


def write(path: Path, bodies: Sequence[bytes]) -> str:
    path.write_bytes(b"\n".join(bodies))
    return str(path)
