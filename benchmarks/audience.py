"""`audience`: how long a rule takes over many people and many events, counted and listed.

The rule has an attribute, a consent and a click within 90 days. People, consents and events are written by SQL in one
statement each: the ledger plays no part in a rule, and sealing a million grants would take an hour.
"""

import statistics
import time
from typing import Any

from sqlalchemy import select, text

from benchmarks.harness import Stack, running
from benchmarks.report import Report
from core.models import Contact
from core.services import audience_counts, audiences

PEOPLE, EVENTS = 1_000_000, 20_000_000
COUNT_S, LIST_S = 2.0, 5.0
TRIES = 3
PER_MESSAGE = 4  # accepted, sent, delivered, read; every tenth message has a click more
BATCH = 250_000  # messages a statement
RULE: dict[str, Any] = {
    "all": [
        {"field": "attributes.tier", "op": "eq", "value": "gold"},
        {"consent": "marketing"},
        {"did": "clicked", "within_days": 90},
    ]
}
UNINDEXED: dict[str, Any] = {
    "any": [
        {"all": [{"field": "attributes.points", "op": "gte", "value": 900}, {"not": {"did": "clicked"}}]},
        {"all": [{"field": "country", "op": "in", "value": ["at", "ch"]}, {"did": "clicked", "at_least": 2}]},
    ]
}

_PEOPLE = """
    INSERT INTO contacts (name, language, country, time_zone, attributes, tags)
    SELECT 'Person ' || n, 'de', (ARRAY['DE', 'AT', 'CH', 'FR'])[1 + n % 4], 'Europe/Berlin',
           jsonb_build_object('number', n, 'tier', (ARRAY['gold', 'silver', 'none', 'none', 'none'])[1 + n % 5],
                              'points', n % 1000, 'city', 'City ' || n % 500),
           CASE WHEN n % 50 = 0 THEN ARRAY['vip'] ELSE '{}' END
      FROM generate_series(1, $1::bigint) n
"""
_CONSENTS = """
    INSERT INTO consent_state (contact_id, purpose, state, grade, overlays, head_seq)
    SELECT id, 'marketing', CASE WHEN (attributes->>'number')::bigint % 3 = 0 THEN 'withdrawn' ELSE 'subscribed' END,
           'C', '[]', 1
      FROM contacts
"""
_ADDRESSES = """
    INSERT INTO contact_addresses (contact_id, kind, value, match_key)
    SELECT id, 'phone', '+49151' || lpad(attributes->>'number', 8, '0'), '+49151' || lpad(attributes->>'number', 8, '0')
      FROM contacts
"""
_SENDER = """
    INSERT INTO senders (phone_number_id, waba_id, display_number, name) VALUES ('9', '9', '+1', 'Benchmark')
    RETURNING id
"""
# Messages spread over a year; each person gets the same number of them.
_MESSAGES = """
    INSERT INTO messages (kind, priority, contact_id, sender_id, purpose, category, time_zone, queued_at, queued_on,
                          status, accepted_at, sent_at, delivered_at, read_at)
    SELECT 'triggered', 5, c.id, $1, 'marketing', 'marketing', 'UTC', at.at, at.at::date, 'read', at.at, at.at, at.at,
           at.at
      FROM (SELECT id, row_number() OVER (ORDER BY id) AS place FROM contacts) c
      CROSS JOIN LATERAL (SELECT now() - make_interval(days => (c.place * 7 + $2::bigint * 37)::int % 365) AS at) at
     WHERE c.place % $4::bigint = $3::bigint
"""
_EVENTS = """
    INSERT INTO message_events (message_id, queued_on, kind, occurred_at, event_key, is_bot)
    SELECT m.id, m.queued_on, fact.kind, m.queued_at, gen_random_uuid(), CASE WHEN fact.kind = 'click' THEN false END
      FROM messages m
      CROSS JOIN LATERAL (
           SELECT unnest(ARRAY['accepted', 'sent', 'delivered', 'read']) AS kind
           UNION ALL SELECT 'click' WHERE get_byte(uuid_send(m.id), 15) % 10 = 0) fact
     WHERE m.created_at >= $1
"""


async def audience(sizes: list[int]) -> Report:
    """`audience [PEOPLE [EVENTS]]`, 1,000,000 and 20,000,000 unless told."""
    people = sizes[0] if sizes else PEOPLE
    events = sizes[1] if len(sizes) > 1 else people * EVENTS // PEOPLE
    report = Report("audience")
    async with running() as stack:
        began = time.perf_counter()
        report.add("people", await _fill(stack, people, events), "people")
        async with stack.database() as database:
            for name in ("message_events", "contact_actions"):
                report.add(name.replace("_", " "), await database.fetchval(f"SELECT count(*) FROM {name}"), "rows")
        report.add("seconds to fill the database", time.perf_counter() - began, "s")
        await _measure(stack, report, RULE, "attribute, consent and clicks", judged=True)
        await _measure(stack, report, UNINDEXED, "or, not, numbers, two clicks", judged=False)
    return report


async def _fill(stack: Stack, people: int, events: int) -> int:
    rounds = max(1, round(events / people / (PER_MESSAGE + 0.1)))
    parts = max(1, people // BATCH)
    async with stack.database() as database:
        await database.execute(_PEOPLE, people)
        await database.execute(_CONSENTS)
        await database.execute(_ADDRESSES)
        sender = await database.fetchval(_SENDER)
        for turn in range(rounds):
            for part in range(parts):
                now = await database.fetchval("SELECT clock_timestamp()")
                await database.execute(_MESSAGES, sender, turn, part, parts)
                await database.execute(_EVENTS, now)
        for table in ("contacts", "consent_state", "messages", "message_events", "contact_actions"):
            await database.execute(f"VACUUM (ANALYZE) {table}")  # what autovacuum does within minutes
        await database.execute("CHECKPOINT")
        return int(await database.fetchval("SELECT count(*) FROM contacts"))


async def _measure(stack: Stack, report: Report, rule: dict[str, Any], title: str, *, judged: bool) -> None:
    """The median of three runs each, in a session such as the worker's."""
    counts, lists, pages, size = [], [], [], 0
    for _ in range(TRIES):
        async with stack.sessions.begin() as session, audience_counts.room(session, at_most_ms=600_000):
            who = audiences.people_of_rule(await audiences.checked(session, rule))
            began = time.perf_counter()
            size = await audience_counts.count(session, who)
            counts.append(time.perf_counter() - began)
            began = time.perf_counter()
            listed = len((await session.scalars(who)).all())
            lists.append(time.perf_counter() - began)
            if listed != size:
                raise RuntimeError(f"{listed} people were listed where {size} were counted")
        async with stack.sessions.begin() as session:
            began = time.perf_counter()
            await session.execute(select(Contact.id).where(Contact.id.in_(who)).order_by(Contact.id.desc()).limit(50))
            pages.append(time.perf_counter() - began)
    async with stack.sessions.begin() as session, audience_counts.room(session, at_most_ms=600_000):
        await session.execute(text("SELECT 1"))
        purpose = await audiences.purpose_named(session, "marketing")
        began = time.perf_counter()
        await audiences.reach(session, who, purpose)
        reach = time.perf_counter() - began
    report.add(f"people found: {title}", size, "people")
    report.add(f"count: {title}", statistics.median(counts), "s", at_most=COUNT_S if judged else None)
    report.add(f"list of all: {title}", statistics.median(lists), "s", at_most=LIST_S if judged else None)
    report.add(f"a page of 50: {title}", statistics.median(pages), "s")
    report.add(f"size and reach, with reasons: {title}", reach, "s")
