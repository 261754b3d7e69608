"""Stops: what stands still for a campaign, why, and what makes it go on."""

from dataclasses import dataclass
from datetime import datetime

from core.models import Campaign, Sender
from core.services.breakers import FAILURES, NO_ANSWER, TOKEN_CODES
from core.statuses import CampaignStatus
from core.whatsapp.errors import explain

PROVIDER = "provider:"
TEMPLATE = "template:"
_STEPS = {
    FAILURES: "Look at the failures, mend the cause, then resume.",
    NO_ANSWER: "Look whether the provider has a disturbance; when it is over, resume.",
}


@dataclass(frozen=True)
class Stop:
    """`what` is number or campaign; `code` is null when a person stopped it; `goes_on_alone`: nobody need press."""

    what: str
    code: str | None
    reason: str
    next_step: str
    since: datetime
    goes_on_alone: bool


def paused_by(name: str, reason: str) -> str:
    """What is kept when a person pauses something: who, and why if they said so."""
    return f"Paused by {name}: {reason.strip()}" if reason.strip() else f"Paused by {name}"


def stops(campaign: Campaign, sender: Sender) -> list[Stop]:
    """What stops this campaign at the moment: its number, itself, both or nothing."""
    found = []
    if sender.paused_at is not None and campaign.status not in (CampaignStatus.CANCELLED, CampaignStatus.DRAFT):
        found.append(_of_number(sender, sender.paused_at))
    if campaign.status is CampaignStatus.PAUSED and campaign.paused_at is not None:
        found.append(_of_campaign(campaign, campaign.paused_at))
    return found


def _of_number(sender: Sender, since: datetime) -> Stop:
    code = sender.pause_code
    if code is not None and code.startswith(PROVIDER):
        error = explain(int(code.removeprefix(PROVIDER)))
        alone = code in TOKEN_CODES
        after = "It goes on by itself once the token works." if alone else "Then let the number go on."
        return Stop("number", code, f"{error.meaning} ({error.code})", f"{error.next_step} {after}", since, alone)
    return Stop(
        "number", code, sender.pause_reason or "Somebody paused it", "Let it go on when you wish.", since, False
    )


def _of_campaign(campaign: Campaign, since: datetime) -> Stop:
    code, reason = campaign.pause_code, campaign.pause_reason or "Somebody paused it"
    if code is not None and code.startswith(TEMPLATE):
        step = "Mend the template in WhatsApp Manager. It goes on by itself once the provider has approved it."
        return Stop("campaign", code, reason, step, since, True)
    step = _STEPS.get(code or "", "Resume when you wish.")
    return Stop("campaign", code, reason, step, since, False)
