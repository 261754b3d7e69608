"""Rows that come by the thousand name parents that are there: what a foreign key would keep, a statement at a time."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

NOBODY = "00000000-0000-7000-8000-000000000000"
# A row of each child whose parents are all there, in the order in which they can be made.
ROWS = """
    INSERT INTO imports (id, filename, path, sha256, bytes, options, status)
         VALUES ($1, 'a.csv', '/a.csv', 'ab', 1, '{}', 'done');
    INSERT INTO audiences (id, name, kind) VALUES ($1, 'everybody', 'static');
    INSERT INTO contacts (id, import_id) VALUES ($1, $1);
    INSERT INTO contact_addresses (contact_id, kind, value, match_key) VALUES ($1, 'phone', '+491', 'pn:491');
    INSERT INTO consent_state (contact_id, purpose, state, overlays, head_seq)
         VALUES ($1, 'marketing', 'none', '[]', 0);
    INSERT INTO audience_members (audience_id, contact_id, import_id) VALUES ($1, $1, $1);
    INSERT INTO import_rows (import_id, row_number, verdict) VALUES ($1, 2, 'created');
"""
ID = "01000000-0000-7000-8000-000000000001"
KEYS = [
    ("audience_members", "audience_id"),
    ("audience_members", "contact_id"),
    ("audience_members", "import_id"),
    ("consent_state", "contact_id"),
    ("contact_addresses", "contact_id"),
    ("contacts", "import_id"),
    ("import_rows", "import_id"),
]


@pytest.fixture
async def database(own_database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(own_database)
    for statement in ROWS.strip().split(";\n"):
        await connection.execute(statement.replace("$1", f"'{ID}'"))
    yield connection
    await connection.close()


@pytest.mark.parametrize(("child", "column"), KEYS)
async def test_no_row_names_a_parent_that_is_not_there(database: asyncpg.Connection, child: str, column: str) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await database.execute(f"UPDATE {child} SET {column} = '{NOBODY}'")

    changed = "to_jsonb(t) || jsonb_build_object($1::text, $2::text)"
    row = await database.fetchval(f"DELETE FROM {child} t RETURNING {changed}", column, NOBODY)
    written = "attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''"
    listed = f"SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute WHERE {written}"
    names = await database.fetchval(listed, child)
    again = f"INSERT INTO {child} ({names}) SELECT {names} FROM jsonb_populate_record(NULL::{child}, $1)"
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await database.execute(again, row)


async def test_evidence_and_links_name_what_is_there_too(database: asyncpg.Connection) -> None:
    for statement in (
        f"INSERT INTO consent_evidence (event_id, contact_id, salt, payload) VALUES ('{NOBODY}', '{ID}', '', '{{}}')",
        f"INSERT INTO links (code, message_id, button_index, url) VALUES ('abc', '{NOBODY}', 0, 'https://x.example')",
    ):
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await database.execute(statement)


async def test_what_belongs_to_somebody_goes_along(database: asyncpg.Connection) -> None:
    await database.execute("DELETE FROM imports")
    kept = (
        await database.fetchrow("SELECT import_id FROM contacts"),
        await database.fetchrow("SELECT import_id FROM audience_members"),
    )
    rows = await database.fetchval("SELECT count(*) FROM import_rows")
    await database.execute("DELETE FROM contacts")
    left = [
        await database.fetchval(f"SELECT count(*) FROM {child}") for child in ("contact_addresses", "consent_state")
    ]

    assert [tuple(each) for each in kept if each] == [(None,), (None,)] and rows == 0 and left == [0, 0]
    assert await database.fetchval("SELECT count(*) FROM audience_members") == 0


async def test_a_row_that_is_being_made_meanwhile_goes_along(database: asyncpg.Connection, own_database: str) -> None:
    await database.execute("DELETE FROM audience_members")
    other = await asyncpg.connect(own_database)
    try:
        making = other.transaction()
        await making.start()
        await other.execute(f"INSERT INTO audience_members (audience_id, contact_id) VALUES ('{ID}', '{ID}')")
        deleting = asyncio.create_task(database.execute("DELETE FROM contacts"))
        waited = not (await asyncio.wait({deleting}, timeout=0.5))[0]
        await making.commit()
        await deleting
    finally:
        await other.close()

    assert waited and await database.fetchval("SELECT count(*) FROM audience_members") == 0
