"""Tracked links: where a code leads, and the record of who followed it."""

import re
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from core.errors import NotFound
from core.models import Link, LinkHit, Message, MessageEvent
from core.services.folding import event_key
from core.statuses import EventKind

CODE_PARAMETER = "kairan_code"
# Link previews, security scanners and programs; a person's browser names none of these.
_BOTS = re.compile(
    r"bot\b|crawl|spider|preview|facebookexternalhit|facebot|whatsapp/|slurp|curl|wget|python|httpx|headless|"
    r"scan|monitor|proofpoint|barracuda|mimecast|safelinks",
    re.IGNORECASE,
)


def is_bot(method: str, user_agent: str | None) -> bool:
    """Whether a request is a program's: no browser named, a known crawler, or HEAD."""
    return method == "HEAD" or not user_agent or bool(_BOTS.search(user_agent))


def is_address(url: str) -> bool:
    """Whether a link leads somewhere: http(s), a host, and nothing in it that breaks a header or an address."""
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or a port that are none
        return False
    return named and url.isprintable() and " " not in url


def destination(url: str, code: str) -> str:
    """The shop's address with the code added to its query, so that an order can name it."""
    parts = urlsplit(url)
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), (CODE_PARAMETER, code)])
    return urlunsplit(parts._replace(query=query))


async def follow(session: AsyncSession, code: str, *, method: str, user_agent: str | None) -> str:
    """Record the hit and return where to go; raises NotFound for a code we did not make."""
    row = (
        await session.execute(
            select(Link, Message.queued_on).join(Message, Message.id == Link.message_id).where(Link.code == code)
        )
    ).one_or_none()
    if row is None:
        raise NotFound("this link does not exist")
    link: Link = row[0]
    bot = is_bot(method, user_agent)
    now = datetime.now(UTC)
    agent = user_agent[:300] if user_agent else None
    hit = LinkHit(code=code, method=method, user_agent=agent, is_bot=bot)
    session.add(hit)
    await session.flush()
    fact = insert(MessageEvent).values(
        message_id=link.message_id,
        queued_on=row[1],
        kind=EventKind.CLICK,
        occurred_at=now,
        event_key=event_key(str(link.message_id), EventKind.CLICK, now, f"{link.button_index}|{hit.id}"),
        button_index=link.button_index,
        is_bot=bot,
    )
    await session.execute(fact)
    return destination(link.url, code)
