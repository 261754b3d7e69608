"""A saved draft laid out for the form that changes it: widget key → value."""

from collections.abc import Sequence
from datetime import time

from dashboard.campaign_payloads import Campaign, Canary
from dashboard.payloads import Audience, Json, Sender, Template

LABELS = "ABCD"
PEOPLE_FIRST, DEFAULT_SHARE = "A number of people", "A share of them"
THRESHOLDS = {"after_minutes": 60, "min_delivered": 80, "max_failed": 5, "max_opt_out": 2}  # shares in per cent

Widgets = dict[str, object]


def blank() -> Widgets:
    """What the form says before anybody touched it."""
    return {
        "holdout": 5,
        "quiet": True,
        "pace": 600,
        "quiet_from": time(21),
        "quiet_until": time(8),
        "canary_kind": PEOPLE_FIRST,
        "canary_people": 500,
        "canary_share": 5,
        **{f"canary_{name}": value for name, value in THRESHOLDS.items()},
    }


def of(
    campaign: Campaign, audiences: Sequence[Audience], senders: Sequence[Sender], templates: Sequence[Template]
) -> Widgets:
    """What the form says for this draft; what is gone since (a template, say) is left to choose anew."""
    found: Widgets = {**blank(), "name": campaign.name, "holdout": round(100 * campaign.holdout)}
    audience = next((one for one in audiences if one.id == campaign.audience_id), None)
    sender = next((one for one in senders if one.id == campaign.sender_id), None)
    found |= {"audience": audience} if audience else {}
    found |= {"sender": sender} if sender else {}
    by_id = {template.id: template for template in templates}
    found["variants"] = min(len(campaign.variants), len(LABELS)) or 1
    for number, variant in enumerate(campaign.variants[: len(LABELS)]):
        found[f"weight_{number}"] = variant.weight
        if variant.template_id in by_id:
            found[f"template_{number}"] = by_id[variant.template_id]
    found["own_pace"] = campaign.messages_per_minute is not None
    found["pace"] = campaign.messages_per_minute or found["pace"]
    found["quiet"] = campaign.quiet_from is not None
    if campaign.quiet_from and campaign.quiet_until:
        found["quiet_from"] = time.fromisoformat(campaign.quiet_from)
        found["quiet_until"] = time.fromisoformat(campaign.quiet_until)
    return found | (_of_canary(campaign.canary) if campaign.canary else {})


def _of_canary(canary: Canary) -> Widgets:
    found: Widgets = {"canary": True, "canary_kind": PEOPLE_FIRST if canary.people else DEFAULT_SHARE}
    if canary.people:
        found["canary_people"] = canary.people
    if canary.share:
        found["canary_share"] = round(100 * canary.share)
    if canary.thresholds:
        found["canary_alone"] = True
        found["canary_after_minutes"] = canary.thresholds.after_minutes
        for name in ("min_delivered", "max_failed", "max_opt_out"):
            found[f"canary_{name}"] = round(100 * getattr(canary.thresholds, name))
    return found


def parameters(widget: str, given: Json) -> Widgets:
    """One placeholder's widgets for the value it has."""
    for word in ("link", "payload"):
        if word in given:
            return {widget: given[word]}
    if "text" in given:  # of a button the text itself; else one of the kinds of values
        return {widget: given["text"], f"{widget}_source": "text", f"{widget}_text": given["text"]}
    source = str(given.get("source", ""))
    if not source:
        return {}
    kind, _, column = source.partition("contact.attributes.")
    found: Widgets = {f"{widget}_source": kind or "contact.attributes"}
    if column:
        found[f"{widget}_column"] = column
    return found | {f"{widget}_fallback": given.get("fallback", "")}
