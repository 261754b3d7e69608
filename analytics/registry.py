"""Every number, defined once: what it counts or divides, in which unit, and a sentence people can check it by.

Base sets are those of a message (`fct_outcome`): targeted ⊇ attempted ⊇ accepted ⊇ sent ⊇ delivered ⊇ read, clicked,
replied, opted out. A rate names its numerator and denominator among the counts here, is divided last, and is null
when the denominator is empty. Read receipts can be switched off, so reads are a lower bound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum

Filters = Mapping[str, Sequence[object]]


class UnknownName(ValueError):
    """A metric, dimension or attribution model that is not in the registry; the message names it."""


class Unit(StrEnum):
    """How a value is stored and shown."""

    COUNT = "count"  # Int64
    MICROS = "micros"  # Int64, millionths of the currency
    MONEY = "money"  # Float64, the currency
    RATE = "rate"  # Float64, 0..1
    RATIO = "ratio"  # Float64, no bound
    NUMBER = "number"  # Float64, a sum of shares
    SECONDS = "seconds"  # Float64


@dataclass(frozen=True)
class Metric:
    """One number. Either `sql`, an aggregate over `fct_outcome`, or a quotient of two metrics named here."""

    name: str
    label: str
    unit: Unit
    definition: str
    sql: str = ""
    numerator: str = ""
    denominator: str = ""


@dataclass(frozen=True)
class Dimension:
    """One way to group or filter. `sql` is a column of `fct_outcome` or an expression over it."""

    name: str
    label: str
    sql: str


def _set(name: str, label: str, condition: str, definition: str) -> Metric:
    return Metric(name, label, Unit.COUNT, definition, f"count(*) FILTER (WHERE {condition})")


def _sum(name: str, label: str, unit: Unit, column: str, definition: str) -> Metric:
    return Metric(name, label, unit, definition, f"coalesce(sum({column}), 0)::BIGINT")


def _contacts(name: str, label: str, condition: str, definition: str) -> Metric:
    sql = f"count(DISTINCT contact_id) FILTER (WHERE {condition})"
    return Metric(name, label, Unit.COUNT, f"{definition} Not additive over campaigns or days.", sql)


def _rate(name: str, label: str, numerator: str, denominator: str, definition: str, unit: Unit = Unit.RATE) -> Metric:
    return Metric(name, label, unit, definition, numerator=numerator, denominator=denominator)


def _quantile(name: str, label: str, share: float) -> Metric:
    definition = (
        f"Seconds from sent to delivered, {label.split(', ')[1]}, over messages with both webhooks; negative ones"
        " (clock skew) count as 0. Shown with the number of messages it is taken over."
    )
    sql = f"quantile_cont(deliver_s, {share})"
    return Metric(name, label, Unit.SECONDS, definition, sql, denominator="timed_deliveries")


COUNTS = (
    _set("targeted", "Targeted", "targeted", "Messages made for people of the audience; holdout members have none."),
    _set("holdout", "Held out", "holdout", "People kept without a message at random, to measure what messages cause."),
    _set("suppressed", "Skipped", "suppressed", "Targeted, but never sent by our own decision: consent, caps, hours."),
    _set("attempted", "Attempted", "attempted", "Targeted and not skipped."),
    _set("rejected", "Rejected", "rejected", "Attempted; the provider refused the request and never took it later."),
    _set("queued", "Waiting", "queued", "Attempted; neither accepted nor rejected yet. Empty once a campaign is done."),
    _set("accepted", "Accepted", "accepted", "Attempted and taken by the provider; not yet an outcome."),
    _set("sent", "Sent", "sent", "Accepted, with a sent webhook or any later sign of life."),
    _set(
        "delivered",
        "Delivered",
        "delivered",
        "Accepted, and delivered, read, clicked by a person or answered: a read proves delivery, and delivery beats a"
        " failure whatever came first.",
    ),
    _set(
        "implied_delivered",
        "Delivered without a receipt",
        "delivered AND delivered_evidence <> 'receipt'",
        "Delivered, known only from a read, a click or a reply.",
    ),
    _set("failed", "Failed", "failed", "Rejected, or accepted and reported failed without any sign of delivery."),
    _set(
        "capped",
        "Failed: the provider's cap",
        "failed AND accepted AND error_code = 131049",
        "Failed with code 131049: the provider limits how many marketing messages a person gets from all businesses.",
    ),
    _set("open", "No receipt yet", "open", "Accepted, neither delivered nor failed: phone off, blocked or abandoned."),
    _set("read", "Read", "read", "Delivered with a read receipt; a lower bound, because receipts can be switched off."),
    _set(
        "engaged_read",
        "Read or acted on",
        "read OR engaged",
        "Delivered, and read, clicked, answered or opted out: a tighter lower bound of truly read.",
    ),
    _set("clicked", "Clicked", "clicked", "Delivered with at least one click by a person on a tracked link or button."),
    _set("read_and_clicked", "Read and clicked", "clicked AND read", "Clicked, and with a read receipt."),
    _set("replied", "Replied", "replied", "Delivered with at least one reply credited to it that is no opt-out."),
    _set("opted_out", "Opted out", "opted_out", "Delivered with a withdrawal of consent credited to it."),
    _set("engaged", "Acted on", "engaged", "Clicked, replied or opted out."),
    _set("engaged_unread", "Acted on, not read", "engaged AND NOT read", "Acted on without a read receipt."),
    _set("converted", "Converted", "conversions > 0", "Messages credited with an order by the attribution model."),
    _set("timed_deliveries", "Timed deliveries", "deliver_s IS NOT NULL", "Messages with sent and delivered webhooks."),
    _set("clock_skewed", "Delivered before sent", "clock_skewed", "Delivery reported earlier than sending."),
    _set("unpriced", "Price unknown", "cost_source = 'unknown'", "Delivered with no reported price and none known."),
    _sum("clicks_total", "Clicks", Unit.COUNT, "clicks_total", "Click events by people; several per message count."),
    _sum(
        "clicks_unique_button",
        "Clicks, once per button",
        Unit.COUNT,
        "clicks_unique_button",
        "Distinct pairs of message and button clicked by a person.",
    ),
    _sum("bot_clicks", "Robot clicks", Unit.COUNT, "bot_clicks", "Hits by link previews and scanners; never counted."),
    _sum("replies_total", "Replies", Unit.COUNT, "replies_total", "Reply events credited to messages."),
    _contacts("targeted_contacts", "People targeted", "targeted", "Distinct people with a message."),
    _contacts("reached_contacts", "People reached", "delivered", "Distinct people with a delivered message."),
    _contacts("converted_contacts", "People converted", "conversions > 0", "Distinct people with a credited order."),
    _contacts(
        "suspected_block_contacts",
        "People who may have blocked us",
        "targeted AND suspected_block",
        "Reached once, then two or more messages in a row without a receipt for 72 hours and no sign of life: a proxy,"
        " because the provider reports no blocks.",
    ),
    _sum("cost", "Cost", Unit.MICROS, "cost_micros", "Price of delivered messages, reported or from the rate card."),
    _sum(
        "follow_up_cost",
        "Follow-up cost",
        Unit.MICROS,
        "follow_up_micros",
        "Price of conversation messages within 24 hours of a credited reply; never part of cost.",
    ),
    _sum("gross_revenue", "Gross revenue", Unit.MICROS, "gross_micros", "Orders credited by the attribution model."),
    _sum("refunds", "Refunds", Unit.MICROS, "refund_micros", "Refunds of credited orders, whenever they came."),
    _sum(
        "net_revenue",
        "Net revenue",
        Unit.MICROS,
        "gross_micros - refund_micros",
        "Credited orders less their refunds: attributed, which is not the same as caused.",
    ),
    Metric(
        "attributed_conversions",
        "Credited orders",
        Unit.NUMBER,
        "Sum of credit for orders; models that split credit give fractions.",
        "coalesce(sum(credit_micros), 0)::BIGINT / 1e6",
    ),
)

RATES = (
    _rate("suppression_rate", "Skipped rate", "suppressed", "targeted", "Skipped / targeted."),
    _rate("acceptance_rate", "Acceptance rate", "accepted", "attempted", "Accepted / attempted."),
    _rate("delivery_rate", "Delivery rate", "delivered", "sent", "Delivered / sent; not final while some are open."),
    _rate("open_rate", "No receipt yet, share", "open", "sent", "No receipt yet / sent."),
    _rate("reach_rate", "Reach", "delivered", "targeted", "Delivered / targeted: skips and rejections included."),
    _rate("failure_rate", "Failure rate", "failed", "attempted", "Failed / attempted."),
    _rate("capped_rate", "Capped rate", "capped", "accepted", "Failed with the provider's cap / accepted."),
    _rate("read_rate", "Read rate", "read", "delivered", "Read / delivered; a lower bound."),
    _rate("read_rate_of_sent", "Read rate of sent", "read", "sent", "Read / sent, as tools that divide by sends do."),
    _rate("engaged_read_rate", "Read or acted on, rate", "engaged_read", "delivered", "Read or acted on / delivered."),
    _rate(
        "receipt_off_share",
        "Receipts off, estimate",
        "engaged_unread",
        "engaged",
        "Acted on without a receipt / acted on: estimates the share that hides receipts, if acting is independent.",
    ),
    _rate(
        "adjusted_read_rate",
        "Read rate, adjusted",
        "read",
        "delivered",
        "Read rate / (1 - receipts off), at most 1: an estimate, never a basis for inference. Its numerator and"
        " denominator are those of the read rate.",
    ),
    _rate("click_rate", "Click rate", "clicked", "delivered", "Messages clicked by a person / delivered."),
    _rate("click_to_read", "Click to read", "read_and_clicked", "read", "Read and clicked / read."),
    _rate("reply_rate", "Reply rate", "replied", "delivered", "Replied / delivered; opt-outs are no replies."),
    _rate("opt_out_rate", "Opt-out rate", "opted_out", "delivered", "Opted out / delivered."),
    _rate(
        "conversion_rate", "Conversion rate", "converted", "delivered", "Messages credited with an order / delivered."
    ),
    _rate(
        "contact_conversion_rate",
        "Conversion rate of people",
        "converted_contacts",
        "reached_contacts",
        "People with a credited order / people reached.",
    ),
    _rate("cost_per_delivered", "Cost per delivery", "cost", "delivered", "Cost / delivered.", Unit.MONEY),
    _rate("cost_per_click", "Cost per clicked message", "cost", "clicked", "Cost / clicked.", Unit.MONEY),
    _rate(
        "cost_per_conversion",
        "Cost per order",
        "cost",
        "attributed_conversions",
        "Cost / credited orders.",
        Unit.MONEY,
    ),
    _rate("roas", "Return on spend", "net_revenue", "cost", "Net revenue / cost.", Unit.RATIO),
    _rate(
        "revenue_per_delivered",
        "Revenue per delivery",
        "net_revenue",
        "delivered",
        "Net revenue / delivered.",
        Unit.MONEY,
    ),
)

TIMES = (
    _quantile("time_to_deliver_median", "Time to deliver, median", 0.5),
    _quantile("time_to_deliver_p90", "Time to deliver, 90th percentile", 0.9),
    _quantile("time_to_deliver_p99", "Time to deliver, 99th percentile", 0.99),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in (*COUNTS, *RATES, *TIMES)}

DIMENSIONS: dict[str, Dimension] = {
    dimension.name: dimension
    for dimension in (
        Dimension("day", "Day", "day"),
        Dimension("week", "Week (its Monday)", "date_trunc('week', day)::DATE"),
        Dimension("month", "Month (its first day)", "date_trunc('month', day)::DATE"),
        Dimension("campaign", "Campaign id", "campaign_id"),
        Dimension("campaign_name", "Campaign", "campaign_name"),
        Dimension("variant", "Variant id", "variant_id"),
        Dimension("variant_label", "Variant", "variant_label"),
        Dimension("template", "Template", "template_name"),
        Dimension("template_language", "Template language", "template_language"),
        Dimension("template_version", "Template version", "template_version"),
        Dimension("audience", "Audience", "audience_name"),
        Dimension("sender", "Sender", "sender_name"),
        Dimension("country", "Country", "country"),
        Dimension("category", "Category", "category"),
        Dimension("purpose", "Purpose", "purpose"),
        Dimension("kind", "Kind", "kind"),
        Dimension("error_code", "Error code", "error_code"),
        Dimension("skip_reason", "Reason for skipping", "skip_reason"),
        Dimension("cost_source", "Source of the price", "cost_source"),
    )
}

ATTRIBUTIONS: dict[str, str] = {
    "last_touch": "The latest click (5 days), reply (3 days) or read (24 hours) before the order.",
    "click_priority": "The latest click or reply, or when there is none the latest read.",
    "first_touch": "The earliest click, reply or read within its time.",
    "linear": "Split evenly over all of them, the remainder to the last.",
    "none": "Nothing is credited.",
}


def metric(name: str) -> Metric:
    """The metric of that name; raises UnknownName."""
    if name not in METRICS:
        raise UnknownName(f"there is no metric {name!r}")
    return METRICS[name]


def dimension(name: str) -> Dimension:
    """The dimension of that name; raises UnknownName."""
    if name not in DIMENSIONS:
        raise UnknownName(f"there is no dimension {name!r}")
    return DIMENSIONS[name]


def attribution_model(name: str) -> str:
    """The same name, if there is such a model; raises UnknownName."""
    if name not in ATTRIBUTIONS:
        raise UnknownName(f"there is no attribution model {name!r}")
    return name


@dataclass(frozen=True)
class Scope:
    """Which messages: queued on local days in [since, until), and for each filter its dimension's value is listed."""

    since: date | None = None
    until: date | None = None
    filters: Filters = field(default_factory=dict)

    def where(self) -> tuple[str, dict[str, object]]:
        """A condition over `fct_outcome` and its parameters."""
        conditions: list[str] = ["true"]
        parameters: dict[str, object] = {}
        if self.since is not None:
            # The UTC day may differ from the local one by one; on the stored day whole files are skipped.
            conditions += ["day >= $since", "queued_on >= $since_utc"]
            parameters |= {"since": self.since, "since_utc": self.since - timedelta(days=1)}
        if self.until is not None:
            conditions += ["day < $until", "queued_on <= $until_utc"]
            parameters |= {"until": self.until, "until_utc": self.until}
        for number, (name, values) in enumerate(self.filters.items()):
            conditions.append(f"list_contains($filter_{number}::VARCHAR[], ({dimension(name).sql})::VARCHAR)")
            parameters[f"filter_{number}"] = [str(value) for value in values]
        return " AND ".join(conditions), parameters
