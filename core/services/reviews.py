"""Reviews: render every recipient's message before anything is sent, and say what would happen."""

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from core import template
from core.errors import Conflict
from core.models import Campaign, Purpose, Rate
from core.services import allowance, audiences, campaigns, expansion, progress, senders
from core.services.allowance import Allowance
from core.services.expansion import Preview
from core.statuses import CampaignStatus, Category, TemplateStatus
from core.template import Form

SAMPLES = 3
EXPECTED_DELIVERY = (0.85, 1.0)  # share of sent messages that are delivered and so cost: low and high of the range


@dataclass
class _Tally:
    """What a pass over the audience counts."""

    recipients: Counter[UUID] = field(default_factory=Counter)
    zones: Counter[str] = field(default_factory=Counter)
    markets: Counter[tuple[str, Category]] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    samples: dict[UUID, list[dict[str, Any]]] = field(default_factory=dict)
    holdout: int = 0
    people: Any = field(default_factory=hashlib.sha256)


async def review(
    session: AsyncSession, campaign_id: UUID, *, currency: str, default_zone: str, now: datetime
) -> dict[str, Any]:
    """Look at the whole campaign as it stands, keep what was found, and move a draft to `in_review`.

    Every recipient's message is rendered. The fingerprint covers content and audience: launching names it.
    Raises Conflict once the campaign is launched.
    """
    campaign = await campaigns.get(session, campaign_id, lock=True)
    if campaign.status not in campaigns.EDITABLE:
        raise Conflict("the campaign is launched already", status=campaign.status)
    purpose = await audiences.purpose_named(session, campaign.purpose)
    audience = await audiences.get(session, campaign.audience_id)
    who = audiences.people(audience)
    reach = await audiences.reach(session, who, purpose)
    tally = await _pass_over(session, campaign, purpose, default_zone)
    variants = (await campaigns.variants(session, [campaign.id]))[campaign.id]
    labels = {each.variant.id: each.variant.label for each in variants}
    to_send = sum(tally.recipients.values())
    speed = await progress.limit_per_second(session, campaign)
    start = max(now, campaign.send_at) if campaign.send_at else now
    budget = await allowance.look(session, None)
    found: dict[str, Any] = {
        "audience": reach.size,
        "reachable": reach.reachable,
        "unreachable": reach.unreachable,
        "holdout": tally.holdout,
        "recipients": to_send,
        "variants": [
            {
                "label": label,
                "recipients": tally.recipients[variant_id],
                "sample": tally.samples.get(variant_id, []),
            }
            for variant_id, label in labels.items()
        ],
        "problems": [{"severity": "error", "message": text, "count": n} for text, n in sorted(tally.problems.items())]
        + _doubts(reach, variants)
        + _too_many(budget, to_send),
        "allowance": asdict(budget) | {"free": budget.free} if budget else None,
        "cost": await _cost(session, tally.markets, currency, now),
        "duration_s": round(to_send / speed),
        "finishes_at": (start + timedelta(seconds=to_send / speed)).isoformat(),
        "by_time_zone": dict(tally.zones.most_common(50)),
        "reviewed_at": now.isoformat(),
    }
    campaign.fingerprint = _fingerprint(campaign, variants, tally.people.hexdigest())
    campaign.review, campaign.reviewed_at = found, now
    campaign.status = CampaignStatus.IN_REVIEW
    sender = await senders.get(session, campaign.sender_id)
    return {"fingerprint": campaign.fingerprint, "sender": sender.display_number, **found}


async def _pass_over(session: AsyncSession, campaign: Campaign, purpose: Purpose, default_zone: str) -> _Tally:
    tally = _Tally()
    arms = await campaigns.arms(session, campaign.id)
    forms = {
        each.version.id: Form.of(
            each.template.name, each.template.language, each.version.parameter_format, each.version.components
        )
        for each in (await campaigns.variants(session, [campaign.id]))[campaign.id]
    }
    who = audiences.people(await audiences.get(session, campaign.audience_id))
    after: UUID | None = None
    while page := await expansion.next_people(session, who, after):
        after = page[-1]
        reachable = await audiences.reachable(session, page, purpose)
        for person in await expansion.preview(session, campaign, arms, page, default_zone=default_zone):
            tally.people.update(person.contact_id.bytes)
            if person.holdout:
                tally.holdout += 1
            elif person.contact_id in reachable:
                _count(tally, person, forms[person.template_version_id])
    return tally


def _count(tally: _Tally, person: Preview, form: Form) -> None:
    tally.recipients[person.variant_id] += 1
    tally.zones[person.zone] += 1
    tally.markets[person.country or "", person.category] += 1
    tally.problems.update(form.problems(person.parameters))
    shown = tally.samples.setdefault(person.variant_id, [])
    if len(shown) < SAMPLES:
        shown.append(template.render(form.components, person.parameters))


def _doubts(reach: audiences.Reach, variants: list[campaigns.Variant]) -> list[dict[str, Any]]:
    doubts: list[dict[str, Any]] = []
    for each in variants:
        if each.template.status is not TemplateStatus.APPROVED:
            message = f"the template {each.template.name} is {each.template.status}, not approved"
            doubts.append({"severity": "error", "message": message, "count": 1})
        labels = template.render(each.version.components, {})["buttons"]
        says_stop = any("stop" in label.lower() for label in labels)
        if each.template.category is Category.MARKETING and not says_stop:
            message = f"the template {each.template.name} has no button to stop promotions"
            doubts.append({"severity": "warning", "message": message, "count": 1})
    if reach.reachable == 0:
        doubts.append({"severity": "error", "message": "nobody in the audience can be reached", "count": reach.size})
    return doubts


def _too_many(budget: Allowance | None, to_send: int) -> list[dict[str, Any]]:
    """A campaign for more people than may be written to now is no error: it goes on as the allowance frees up."""
    if budget is None or to_send <= budget.free:
        return []
    promised = f", {budget.reserved:,} are promised to other campaigns" if budget.reserved else ""
    message = (
        f"the portfolio may write to {budget.limit:,} people in 24 hours; {budget.used:,} are used up{promised}: "
        f"{budget.free:,} get it at once, the others as the allowance frees up"
    )
    return [{"severity": "warning", "message": message, "count": to_send - budget.free}]


async def _cost(
    session: AsyncSession, markets: Counter[tuple[str, Category]], currency: str, now: datetime
) -> dict[str, Any]:
    """What the messages may cost by market: from 85 % delivered, as bad lists are, to all of them."""
    live = (Rate.currency == currency, Rate.effective_from <= now.date())
    newest = select(Rate).where(*live).order_by(Rate.market, Rate.category, Rate.effective_from.desc())
    rows = await session.scalars(newest.ext(distinct_on(Rate.market, Rate.category)))
    prices = {(rate.market, rate.category.value): rate.price_micros for rate in rows}
    by_market = [
        {"market": market, "category": category, "recipients": n, "price_micros": prices.get((market, category.value))}
        for (market, category), n in sorted(markets.items())
    ]
    total = sum(n * prices.get((market, category.value), 0) for (market, category), n in markets.items())
    low, high = EXPECTED_DELIVERY
    return {
        "currency": currency,
        "low_micros": round(total * low),
        "high_micros": round(total * high),
        "unpriced": sum(n for (market, category), n in markets.items() if (market, category.value) not in prices),
        "by_market": by_market,
    }


def _fingerprint(campaign: Campaign, variants: list[campaigns.Variant], people: str) -> str:
    content = [
        campaign.name,
        campaign.purpose,
        str(campaign.sender_id),
        campaign.holdout_bp,
        campaign.messages_per_minute,
        str(campaign.quiet_from),
        str(campaign.quiet_until),
        [campaign.canary_people, campaign.canary_bp, campaign.canary_thresholds],
        [(v.variant.label, v.variant.weight, str(v.version.id), v.variant.parameters) for v in variants],
        people,
    ]
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()[:32]
