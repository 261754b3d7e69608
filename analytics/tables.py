"""The lake's stored tables: what a row is, how files are laid out, which columns they have."""

from dataclasses import dataclass, field

SCHEMA = 2  # raise it when a model's columns or rules change: the next refresh rebuilds every computed partition
WHOLE = "whole"  # the one partition of a table that is exported whole


@dataclass(frozen=True)
class Table:
    """A table of immutable Parquet files.

    `partition` is a DATE column and names the folder (`send_date=2026-10-01`); null: one partition, `whole`.
    `instant` is the TIMESTAMPTZ column whose smallest and largest value the manifest keeps per file.
    `columns` are DuckDB types, given for what comes from PostgreSQL; computed tables get theirs from their model.
    """

    name: str
    sort: tuple[str, ...]
    partition: str | None = None
    folder: str = ""
    instant: str | None = None
    columns: dict[str, str] = field(default_factory=dict)

    def folder_of(self, partition: str) -> str:
        """`data/<table>/send_date=<day>`, or `data/<table>/whole`."""
        return f"data/{self.name}/{self.folder}={partition}" if self.folder else f"data/{self.name}/{partition}"


MESSAGE = Table(
    "bronze_message",
    sort=("campaign_id", "message_id"),
    partition="queued_on",
    folder="send_date",
    instant="queued_at",
    columns={
        "message_id": "VARCHAR",
        "kind": "VARCHAR",
        "campaign_id": "VARCHAR",
        "variant_id": "VARCHAR",
        "template_version_id": "VARCHAR",
        "contact_id": "VARCHAR",
        "sender_id": "VARCHAR",
        "purpose": "VARCHAR",
        "category": "VARCHAR",
        "country": "VARCHAR",
        "time_zone": "VARCHAR",
        "holdout": "BOOLEAN",
        "queued_at": "TIMESTAMPTZ",
        "queued_on": "DATE",
        "received_at": "TIMESTAMPTZ",
    },
)
EVENT = Table(
    "bronze_event",
    sort=("message_id", "occurred_at", "event_key"),
    partition="queued_on",
    folder="send_date",
    instant="occurred_at",
    columns={
        "message_id": "VARCHAR",
        "queued_on": "DATE",
        "kind": "VARCHAR",
        "occurred_at": "TIMESTAMPTZ",
        "received_at": "TIMESTAMPTZ",
        "event_key": "VARCHAR",
        "error_code": "BIGINT",
        "reason": "VARCHAR",
        "button_index": "SMALLINT",
        "is_bot": "BOOLEAN",
        "pricing_type": "VARCHAR",
        "billable": "BOOLEAN",
        "cost_micros": "BIGINT",
    },
)
CONVERSION = Table(
    "bronze_conversion",
    sort=("contact_id", "occurred_at", "order_id", "refund_id"),
    partition="converted_on",
    folder="conv_date",
    instant="occurred_at",
    columns={
        "kind": "VARCHAR",
        "order_id": "VARCHAR",
        "refund_id": "VARCHAR",
        "contact_id": "VARCHAR",
        "occurred_at": "TIMESTAMPTZ",
        "converted_on": "DATE",
        "received_at": "TIMESTAMPTZ",
        "amount_micros": "BIGINT",
        "currency": "VARCHAR",
    },
)
BRONZE = {table.name: table for table in (MESSAGE, EVENT, CONVERSION)}

DIMENSION_TABLES = {
    table.name: table
    for table in (
        Table(
            "dim_campaign",
            sort=("campaign_id",),
            columns={
                "campaign_id": "VARCHAR",
                "campaign_name": "VARCHAR",
                "campaign_status": "VARCHAR",
                "audience_id": "VARCHAR",
                "audience_name": "VARCHAR",
                "sender_id": "VARCHAR",
                "sender_name": "VARCHAR",
                "holdout_bp": "BIGINT",
                "created_at": "TIMESTAMPTZ",
                "launched_at": "TIMESTAMPTZ",
            },
        ),
        Table(
            "dim_variant",
            sort=("variant_id",),
            columns={
                "variant_id": "VARCHAR",
                "campaign_id": "VARCHAR",
                "variant_label": "VARCHAR",
                "weight": "BIGINT",
                "template_version_id": "VARCHAR",
            },
        ),
        Table(
            "dim_template",
            sort=("template_version_id",),
            columns={
                "template_version_id": "VARCHAR",
                "template_id": "VARCHAR",
                "template_name": "VARCHAR",
                "template_language": "VARCHAR",
                "template_version": "BIGINT",
                "template_category": "VARCHAR",
            },
        ),
        Table(
            "dim_rate",
            sort=("market", "category", "currency", "effective_from"),
            columns={
                "market": "VARCHAR",
                "category": "VARCHAR",
                "currency": "VARCHAR",
                "price_micros": "BIGINT",
                "effective_from": "DATE",
            },
        ),
    )
}

FCT_MESSAGE = Table(
    "fct_message",
    sort=("campaign_id", "variant_id", "message_id"),
    partition="queued_on",
    folder="send_date",
    instant="queued_at",
)
FCT_TOUCH = Table(
    "fct_touch",
    sort=("contact_id", "touch_at", "message_id", "touch_kind"),
    partition="queued_on",
    folder="send_date",
    instant="touch_at",
)
FCT_ATTRIBUTION = Table(
    "fct_attribution",
    sort=("model", "campaign_id", "order_id", "message_id"),
    partition="converted_on",
    folder="conv_date",
    instant="converted_at",
)
SILVER = {table.name: table for table in (FCT_MESSAGE, FCT_TOUCH, FCT_ATTRIBUTION)}

TABLES = BRONZE | DIMENSION_TABLES | SILVER
