"""What the provider says about templates, numbers and the account: kept once each, and what follows from it.

| It says | What follows |
|---|---|
| template approved, paused, disabled … | the template's status; its campaigns stop, or those it stopped go on |
| template quality | shown on the template; red is a warning |
| template category changed | the template's category; campaigns stop when its purpose no longer fits |
| template category will change | a warning |
| template edited | a new version; campaigns that use an older one stop until somebody has looked |
| throughput upgraded | the number may send 1,000 a second, unless a person had set a lower pace |
| limit tier | kept on the number, or on every number of the account |
| number flagged, unflagged | its quality; a flagged number stops when it is set to (`pause_on_red`) |
| account restricted or disabled, reinstated | every number of the account stops; those that stopped for it go on |
| all else | kept and shown |

An event older than one already applied to the same thing is kept and changes nothing.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from core import queue
from core.models import AccountEvent, Sender, Template
from core.services import breakers, senders, templates
from core.services.paging import Page, page
from core.statuses import AccountEventKind, Severity
from core.whatsapp import account_events as told
from core.whatsapp.payloads import category_of

log = structlog.get_logger()

Event = told.AccountEvent
Kind = AccountEventKind

UPGRADED_PER_SECOND = 1000  # source: "Throughput", Cloud API overview, read 2026-11
DEFAULT_PER_SECOND = 80
RED = "RED"
FLAGGED_CODE = "quality:red"
RESTRICTED_CODE = "account:restricted"
DISABLED_CODE = "account:disabled"
# Without the right to start conversations no campaign gets through.
_STOPPING_RESTRICTIONS = frozenset({"RESTRICTED_BIZ_INITIATED_MESSAGING", "RESTRICTED_UTILITY_TEMPLATES"})


async def record(session: AsyncSession, event: Event, *, now: datetime) -> bool:
    """Keep an event and do what follows from it; False, and nothing else, when it was kept before."""
    row = await keep(
        session,
        kind=event.kind,
        word=event.word,
        severity=event.severity,
        account=event.account,
        subject=event.subject,
        aspect=event.aspect,
        occurred_at=event.occurred_at,
        event_key=event.key,
        value=event.value,
    )
    if row is None:
        return False
    later = (AccountEvent.aspect == event.aspect, AccountEvent.occurred_at > event.occurred_at)
    if await session.scalar(select(AccountEvent.id).where(*later).limit(1)) is not None:
        row.effect = "Nothing: something newer is known already."
        return True
    effect = _EFFECTS.get(event.kind)
    row.effect = await effect(session, event, now) if effect else None
    log.info("account.told", kind=event.kind, word=event.word, severity=event.severity, account=event.account)
    return True


async def keep(session: AsyncSession, **values: object) -> AccountEvent | None:
    """The new row; None when an event with this key is there already."""
    put = insert(AccountEvent).values(values).on_conflict_do_nothing().returning(AccountEvent)
    return (await session.scalars(put)).one_or_none()


async def list_events(
    session: AsyncSession, *, severity: Severity | None, words: str | None, limit: int, cursor: str | None
) -> Page[AccountEvent]:
    """What was told, newest first; `words` is a part of the subject or of the provider's word."""
    statement = select(AccountEvent)
    if severity is not None:
        statement = statement.where(AccountEvent.severity == severity)
    if words:
        found = AccountEvent.subject.icontains(words, autoescape=True)
        statement = statement.where(found | AccountEvent.word.icontains(words, autoescape=True))
    return await page(session, statement, AccountEvent.id.expression, limit=limit, cursor=cursor)


async def _template(session: AsyncSession, event: Event) -> Template | None:
    """By the provider's id, else by name and language: an id may be garbled, and it changes when one is made anew."""
    provider_id = told.template_id(event)
    by_id = select(Template).where(Template.provider_id == provider_id).with_for_update()
    found = await session.scalar(by_id) if provider_id else None
    if found is not None:
        return found
    name, language = event.value.get("message_template_name"), told.language(event)
    if not isinstance(name, str) or language is None:
        return None
    same = (Template.waba_id == event.account, Template.name == name)
    spelled = func.replace(Template.language, "-", "_") == language
    return await session.scalar(select(Template).where(*same, spelled).with_for_update())


_UNKNOWN_TEMPLATE = "Nothing: this template is not in Kairan; synchronise the templates to have it."


async def _template_status(session: AsyncSession, event: Event, now: datetime) -> str:
    template = await _template(session, event)
    if template is None:
        return _UNKNOWN_TEMPLATE
    reason = event.value.get("reason")
    templates.take_status(template, event.word, reason if isinstance(reason, str) else None)
    stopped, resumed = await breakers.follow_template(session, template, now=now)
    return f"The template is {template.status}.{_campaigns(stopped, 'paused')}{_campaigns(resumed, 'resumed')}"


def _campaigns(count: int, what: str) -> str:
    return f" {count} campaign{'s' if count > 1 else ''} {what}." if count else ""


async def _template_quality(session: AsyncSession, event: Event, now: datetime) -> str:
    template = await _template(session, event)
    if template is None:
        return _UNKNOWN_TEMPLATE
    template.quality = event.word.upper()
    return f"The template's quality is {template.quality}."


async def _template_category(session: AsyncSession, event: Event, now: datetime) -> str:
    template = await _template(session, event)
    if template is None:
        return _UNKNOWN_TEMPLATE
    before, template.category = template.category, category_of(event.word)
    stopped, resumed = await breakers.follow_template(session, template, now=now)
    if templates.misfit(template):
        return (
            f"The provider now charges it as {template.category}, which its purpose {template.purpose} does not allow:"
            f" it is not sent.{_campaigns(stopped, 'paused')}"
        )
    return f"It was {before} and is {template.category}.{_campaigns(resumed, 'resumed')}"


async def _template_content(session: AsyncSession, event: Event, now: datetime) -> str:
    template = await _template(session, event)
    if template is None:
        return _UNKNOWN_TEMPLATE
    number = await templates.take_content(session, template, event.value)
    if number is None:
        return "Nothing: this is the content we have."
    reason = f"the template {template.name} was edited at the provider: look at it, then resume or choose it again"
    stopped = await breakers.stop_template(session, template, reason=reason, code=f"content:{template.id}", now=now)
    return f"Version {number} was added.{_campaigns(stopped, 'paused')}"


async def _number(session: AsyncSession, event: Event) -> Sender | None:
    number = told.display_number(event)
    mine = select(Sender).where(Sender.display_number == number).with_for_update()
    return await session.scalar(mine) if number else None


async def _account(session: AsyncSession, event: Event) -> list[Sender]:
    mine = select(Sender).where(Sender.waba_id == event.account).order_by(Sender.id).with_for_update()
    return list(await session.scalars(mine))


_UNKNOWN_NUMBER = "Nothing: this number is not registered in Kairan."


async def _number_limit(session: AsyncSession, event: Event, now: datetime) -> str:
    sender = await _number(session, event)
    if sender is None:
        return _UNKNOWN_NUMBER
    if event.word in ("flagged", "unflagged"):
        return _flag(session, sender, is_red=event.word == "flagged", now=now)
    if event.word == "throughput_upgrade":
        if sender.messages_per_second < DEFAULT_PER_SECOND:
            return f"It may send faster now; it stays at the {sender.messages_per_second} a second somebody set."
        sender.messages_per_second = UPGRADED_PER_SECOND
        queue.ring_after_commit(session, queue.SEND_MESSAGES, sender.id)
        return f"The number sends up to {UPGRADED_PER_SECOND:,} messages a second."
    return _take_tier([sender], told.limit_tier(event))


def _flag(session: AsyncSession, sender: Sender, *, is_red: bool, now: datetime) -> str:
    sender.quality = RED if is_red else "UNKNOWN"
    if not is_red:
        if _release(session, sender, FLAGGED_CODE, now):
            return "The number is no longer flagged and sends again."
        return "The number is no longer flagged."
    if sender.pause_on_red and _stop(sender, FLAGGED_CODE, "The provider flagged this number for low quality.", now):
        return "The number is paused: its quality is red."
    return "Its quality is red; the number goes on sending, as it is set to."


def _stop(sender: Sender, code: str, reason: str, now: datetime) -> bool:
    """Pause a number that is going; one that stands still keeps the reason it has."""
    if sender.paused_at is not None:
        return False
    sender.paused_at, sender.pause_code, sender.pause_reason = now, code, reason
    log.warning("sender.stopped", sender_id=str(sender.id), code=code)
    return True


def _release(session: AsyncSession, sender: Sender, code: str, now: datetime) -> bool:
    if sender.pause_code != code:
        return False
    senders.let_go(session, sender, now=now)
    log.info("sender.resumed", sender_id=str(sender.id), code=code)
    return True


def _take_tier(those: list[Sender], tier: str | None) -> str:
    if tier is None:
        return "Nothing: it names no limit."
    for sender in those:
        sender.limit_tier = tier
    numbers = "The number" if len(those) == 1 else f"{len(those)} numbers"
    people = tier.removeprefix("TIER_").lower().replace("k", ",000")
    reach = "as many people as it likes" if people == "unlimited" else f"{people} new people a day"
    return f"{numbers} may reach {reach}." if those else _UNKNOWN_NUMBER


async def _number_name(session: AsyncSession, event: Event, now: datetime) -> str | None:
    sender = await _number(session, event)
    if sender is None:
        return _UNKNOWN_NUMBER
    name = event.value.get("requested_verified_name")
    if event.word == "approved" and isinstance(name, str):
        sender.verified_name = name[:200]
        return f"People see the name {sender.verified_name}."
    return None


async def _capability(session: AsyncSession, event: Event, now: datetime) -> str:
    return _take_tier(await _account(session, event), told.limit_tier(event))


async def _account_update(session: AsyncSession, event: Event, now: datetime) -> str | None:
    if event.word == "account_restriction":
        told_of = event.value.get("restriction_info")
        kinds = {str(each.get("restriction_type")) for each in told_of or () if isinstance(each, dict)}
        if not kinds & _STOPPING_RESTRICTIONS:
            return None
        reason = "The provider has restricted this account: it may not start conversations. See Business Support."
        return await _stop_all(session, event, RESTRICTED_CODE, reason, now)
    ban = event.value.get("ban_info")
    state = ban.get("waba_ban_state") if isinstance(ban, dict) else None
    if event.word == "account_deleted" or (event.word == "disabled_update" and state == "DISABLE"):
        return await _stop_all(session, event, DISABLED_CODE, "The provider has disabled this account.", now)
    if event.word == "disabled_update" and state == "REINSTATE":
        released = [_release(session, sender, DISABLED_CODE, now) for sender in await _account(session, event)]
        return _numbers(sum(released), "send again", "sends again") or "No number stood still because of this."
    return None


async def _stop_all(session: AsyncSession, event: Event, code: str, reason: str, now: datetime) -> str:
    stopped = [_stop(sender, code, reason, now) for sender in await _account(session, event)]
    return _numbers(sum(stopped), "are paused", "is paused") or "The account's numbers stand still already."


def _numbers(count: int, many: str, one: str) -> str | None:
    return (f"1 number {one}." if count == 1 else f"{count} numbers {many}.") if count else None


async def raise_orphans(
    session: AsyncSession, sender: Sender | None, number: str, wamids: list[str], *, key: UUID, now: datetime
) -> AccountEvent | None:
    """Alert that a number's messages are reported on which nobody here has sent; it stops unless it is set to go on."""
    row = await keep(
        session,
        kind=Kind.ORPHANS,
        word="orphan_send",
        severity=Severity.CRITICAL,
        account=sender.waba_id if sender else "",
        subject=sender.display_number if sender else number,
        aspect=f"{Kind.ORPHANS}|{number}",
        occurred_at=now,
        event_key=key,
        value={"count": len(wamids), "wamids": wamids[:20]},
    )
    if row is None or sender is None:
        return row
    reason = "Statuses came of messages that Kairan did not send. Somebody else sends from this number: see Webhooks."
    if sender.pause_on_orphans and _stop(sender, "integrity:orphans", reason, now):
        row.effect = "The number is paused until somebody has looked: see the orphans, then resume it."
    else:
        row.effect = "The number goes on sending."
    return row


_EFFECTS: dict[Kind, Callable[[AsyncSession, Event, datetime], Awaitable[str | None]]] = {
    Kind.TEMPLATE_STATUS: _template_status,
    Kind.TEMPLATE_QUALITY: _template_quality,
    Kind.TEMPLATE_CATEGORY: _template_category,
    Kind.TEMPLATE_CONTENT: _template_content,
    Kind.NUMBER_LIMIT: _number_limit,
    Kind.NUMBER_NAME: _number_name,
    Kind.CAPABILITY: _capability,
    Kind.ACCOUNT: _account_update,
}
