"""A second opinion on the fold, in polars: written from the definitions, not from the SQL."""

from datetime import datetime

import polars as pl

ONE_SECOND = pl.duration(seconds=1)


def fold(messages: pl.DataFrame, events: pl.DataFrame, as_of: datetime) -> pl.DataFrame:
    """The latest state of every message known at `as_of`: the columns of `fct_message`, sorted by message_id."""
    known = messages.filter(pl.col("received_at") <= as_of).unique("message_id")
    received = events.filter(pl.col("received_at") <= as_of)
    copies = received.group_by("event_key").agg(pl.len().alias("copies"))
    facts = (
        received.sort("received_at").unique("event_key", keep="first", maintain_order=True).join(copies, on="event_key")
    )
    return _sets(known.join(_folded(_judged(facts)), on="message_id", how="left")).sort("message_id")


def _when(kinds: tuple[str, ...]) -> pl.Expr:
    return pl.col("occurred_at").filter(pl.col("kind").is_in(kinds)).min()


def _judged(facts: pl.DataFrame) -> pl.DataFrame:
    """Robots' clicks told from people's, and facts that arrived after later ones."""
    ordered = facts.sort("message_id", "received_at", "occurred_at", "event_key")
    receipt = _when(("delivered",)).over("message_id")
    person = pl.col("kind").is_in(["read", "played", "reply"]).any().over("message_id")
    instantly = (pl.col("occurred_at") >= receipt) & (pl.col("occurred_at") - receipt < ONE_SECOND) & ~person
    latest_before = pl.col("occurred_at").cum_max().shift(1).over("message_id")
    click = pl.col("kind") == "click"
    return ordered.with_columns(
        (click & (pl.col("is_bot").fill_null(False) | instantly.fill_null(False))).alias("robot"),
        (pl.col("occurred_at") < latest_before).fill_null(False).alias("out_of_order"),
    ).with_columns((click & ~pl.col("robot")).alias("human"))


def _earliest(column: str, kind: str) -> pl.Expr:
    """The value of the earliest fact of a kind that has one."""
    having = (pl.col("kind") == kind) & pl.col(column).is_not_null()
    return (
        pl.col(column)
        .filter(having)
        .sort_by(pl.col("occurred_at").filter(having), pl.col("event_key").filter(having))
        .first()
    )


def _folded(facts: pl.DataFrame) -> pl.DataFrame:
    tried_again = ((pl.col("kind") == "rejected") & (pl.col("reason") == "retry")).fill_null(False)
    facts = facts.with_columns(pl.when(tried_again).then(pl.lit("retried")).otherwise(pl.col("kind")).alias("kind"))
    billable = pl.col("billable")
    free_type = pl.col("pricing_type").is_in(["free_entry_point", "free_customer_service"])
    return facts.group_by("message_id").agg(
        _when(("suppressed",)).alias("suppressed_at"),
        _when(("rejected",)).alias("rejected_at"),
        pl.coalesce(
            _when(("accepted", "held")), _when(("sent", "delivered", "read", "played", "failed", "deleted"))
        ).alias("accepted_at"),
        _when(("sent",)).alias("sent_at"),
        _when(("delivered",)).alias("receipt_at"),
        _when(("read", "played")).alias("read_at"),
        _when(("failed",)).alias("failed_at"),
        pl.col("occurred_at").filter("human").min().alias("clicked_at"),
        _when(("reply",)).alias("replied_at"),
        _when(("opt_out",)).alias("opted_out_at"),
        _earliest("error_code", "failed").alias("failed_code"),
        _earliest("error_code", "rejected").alias("rejected_code"),
        _earliest("reason", "suppressed").alias("why_skipped"),
        pl.col("human").sum().cast(pl.Int64).alias("clicks_total"),
        pl.col("button_index").fill_null(-1).filter("human").n_unique().cast(pl.Int64).alias("clicks_unique_button"),
        pl.col("robot").sum().cast(pl.Int64).alias("bot_clicks"),
        (pl.col("kind") == "reply").sum().cast(pl.Int64).alias("replies_total"),
        pl.col("pricing_type").max(),
        pl.col("cost_micros").filter(billable.fill_null(True)).max().alias("reported_cost_micros"),
        billable.any().alias("billable"),
        ((~billable).fill_null(False) | free_type.fill_null(False)).any().alias("free"),
        pl.col("received_at").max().alias("last_received_at"),
        (pl.col("copies").cast(pl.Int64) - 1).sum().alias("n_dup"),
        pl.col("out_of_order").sum().cast(pl.Int64).alias("n_out_of_order"),
    )


def _sets(rows: pl.DataFrame) -> pl.DataFrame:
    numbers = ("clicks_total", "clicks_unique_button", "bot_clicks", "replies_total", "n_dup", "n_out_of_order")
    evidence = pl.min_horizontal("receipt_at", "read_at", "clicked_at", "replied_at")
    has = {name: pl.col(f"{name}_at").is_not_null() for name in ("rejected", "sent", "read", "failed", "clicked")}
    rows = rows.with_columns(
        *(pl.col(name).fill_null(0) for name in numbers),
        pl.col("billable", "free").fill_null(False),
        (~pl.col("holdout")).alias("targeted"),
    ).with_columns((pl.col("targeted") & pl.col("suppressed_at").is_null()).alias("attempted"))
    rows = rows.with_columns((pl.col("attempted") & pl.col("accepted_at").is_not_null()).alias("accepted"))
    rows = rows.with_columns(
        pl.when("accepted").then(evidence).alias("delivered_at"),
        (pl.col("accepted") & evidence.is_not_null()).alias("delivered"),
    )
    undelivered = pl.col("accepted") & ~pl.col("delivered")
    turned_down = pl.col("attempted") & ~pl.col("accepted") & has["rejected"]
    holdout = pl.when("holdout").then(pl.lit("holdout"))
    return rows.with_columns(
        (pl.col("targeted") & ~pl.col("attempted")).alias("suppressed"),
        turned_down.alias("rejected"),
        (pl.col("attempted") & ~pl.col("accepted") & ~has["rejected"]).alias("queued"),
        (pl.col("accepted") & (has["sent"] | pl.col("delivered"))).alias("sent"),
        (turned_down | (undelivered & has["failed"])).alias("failed"),
        (undelivered & ~has["failed"]).alias("open"),
        (pl.col("accepted") & has["read"]).alias("read"),
        (pl.col("accepted") & has["clicked"]).alias("clicked"),
        (pl.col("accepted") & pl.col("replied_at").is_not_null()).alias("replied"),
        (pl.col("delivered") & pl.col("opted_out_at").is_not_null()).alias("opted_out"),
        pl.when("delivered")
        .then(
            pl.when(pl.col("receipt_at").is_not_null())
            .then(pl.lit("receipt"))
            .when(pl.col("read_at").is_not_null())
            .then(pl.lit("read"))
            .otherwise(pl.lit("engagement"))
        )
        .alias("delivered_evidence"),
        pl.when(undelivered).then("failed_code").when(turned_down).then("rejected_code").alias("error_code"),
        holdout.when(pl.col("targeted") & ~pl.col("attempted")).then("why_skipped").alias("skip_reason"),
        *(
            pl.when("accepted").then(name).otherwise(0).alias(name)
            for name in ("clicks_total", "clicks_unique_button", "replies_total")
        ),
    )
