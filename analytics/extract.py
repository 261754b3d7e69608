"""PostgreSQL → Parquet: what was committed in a closed window of transaction ids, streamed batch by batch.

A row's transaction id is fixed before it is committed, and `pg_snapshot_xmin` of a snapshot is the oldest id still
running: every transaction below it has ended, so the window `[lo, hi)` with `hi = xmin` is final, and windows that
tile the line export each row exactly once. Sequence numbers and timestamps cannot do that: a slow transaction
commits rows below a watermark already passed.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from analytics.postgres import connect_snapshot
from core.settings import Settings

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor


@dataclass(frozen=True)
class Source:
    """An append-only source: `xid` is the column with the transaction that wrote the row."""

    relation: str
    xid: str
    select: str


SOURCES = {
    "bronze_message": Source(
        "messages",
        "created_xid",
        "SELECT id::text AS message_id, kind::text AS kind, campaign_id::text AS campaign_id,"
        " variant_id::text AS variant_id, template_version_id::text AS template_version_id,"
        " contact_id::text AS contact_id, sender_id::text AS sender_id, purpose, category::text AS category,"
        " country, time_zone, holdout, queued_at, queued_on, created_at AS received_at FROM messages",
    ),
    "bronze_event": Source(
        "message_events",
        "xid",
        "SELECT message_id::text AS message_id, queued_on, kind::text AS kind, occurred_at,"
        " created_at AS received_at, event_key::text AS event_key, error_code, reason, button_index, is_bot,"
        " pricing_type, billable, cost_micros FROM message_events",
    ),
    "bronze_conversion": Source(
        "conversions",
        "xid",
        "SELECT kind::text AS kind, order_id, refund_id, contact_id::text AS contact_id, occurred_at,"
        " (occurred_at AT TIME ZONE 'UTC')::date AS converted_on, created_at AS received_at, amount_micros,"
        " currency FROM conversions",
    ),
}

DIMENSION_SELECTS = {
    "dim_campaign": "SELECT c.id::text AS campaign_id, c.name AS campaign_name, c.status::text AS campaign_status,"
    " c.audience_id::text AS audience_id, a.name AS audience_name, c.sender_id::text AS sender_id,"
    " s.name AS sender_name, c.holdout_bp, c.created_at, c.launched_at"
    " FROM campaigns c JOIN audiences a ON a.id = c.audience_id JOIN senders s ON s.id = c.sender_id ORDER BY c.id",
    "dim_variant": "SELECT id::text AS variant_id, campaign_id::text AS campaign_id, label AS variant_label, weight,"
    " template_version_id::text AS template_version_id FROM campaign_variants ORDER BY id",
    "dim_template": "SELECT v.id::text AS template_version_id, t.id::text AS template_id, t.name AS template_name,"
    " t.language AS template_language, v.version AS template_version, t.category::text AS template_category"
    " FROM template_versions v JOIN templates t ON t.id = v.template_id ORDER BY v.id",
    "dim_rate": "SELECT market, category::text AS category, currency, price_micros, effective_from"
    " FROM rates ORDER BY market, category, currency, effective_from",
}


@dataclass(frozen=True)
class Extraction:
    """One window on disk. `rows` counts what each source gave; `files` has a path per table, dimensions whole."""

    hi: int
    as_of: datetime
    epochs: dict[str, str]
    files: dict[str, Path]
    rows: dict[str, int]
    replayed: bool  # the watermark is of another database, so everything was exported again


def extract(settings: Settings, watermarks: dict[str, dict[str, str]], folder: Path) -> Extraction:
    """Write what was committed since `watermarks` to `folder`, in one REPEATABLE READ, READ ONLY transaction.

    `watermarks` maps a table to `{"epoch", "hi_xid"}`; a table without one, or with the epoch of another database
    (restored from a dump: transaction ids start anew), is exported from the beginning.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with connect_snapshot(settings) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text, statement_timestamp()")
        snapshot, as_of = _only_row(cursor)
        hi = int(snapshot)
        epochs = {table: _epoch(cursor, source.relation) for table, source in SOURCES.items()}
        known = {table: watermarks[table] for table in SOURCES if table in watermarks}
        lo = {t: int(known[t]["hi_xid"]) if t in known and known[t]["epoch"] == epochs[t] else 0 for t in SOURCES}
        files, rows = {}, {}
        for table, source in SOURCES.items():
            window = f" WHERE {source.xid} >= '{lo[table]:d}'::xid8 AND {source.xid} < '{hi:d}'::xid8"
            files[table] = folder / f"{table}.parquet"
            rows[table] = _stream(cursor, source.select + window, files[table])
        for table, select in DIMENSION_SELECTS.items():
            files[table] = folder / f"{table}.parquet"
            _stream(cursor, select, files[table])
        connection.rollback()
    replayed = any(known[table]["epoch"] != epochs[table] for table in known)
    return Extraction(hi, as_of, epochs, files, rows, replayed)


def _epoch(cursor: "Cursor", relation: str) -> str:
    """Which life of which table the transaction ids belong to: a restored dump has another."""
    cursor.execute(
        "SELECT system_identifier::text || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())"
        " || '/' || $1::regclass::oid FROM pg_control_system()",
        (relation,),
    )
    return str(_only_row(cursor)[0])


def _only_row(cursor: "Cursor") -> tuple[Any, ...]:
    row = cursor.fetchone()
    if row is None:
        raise RuntimeError("PostgreSQL gave no row where there must be one")
    return tuple(row)


def _stream(cursor: "Cursor", select: str, path: Path) -> int:
    """Write a query's rows to one Parquet file as they arrive; returns how many."""
    cursor.execute(select)
    reader = cursor.fetch_record_batch()
    rows = 0
    with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows
