"""What an audit package is limited to: as it is asked for, and in words for people who read its summary."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.consent.state import Grade, State
from core.models import Campaign, Import, Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilters:
    """Whose consents are listed; everything empty means everybody's. `as_of_seq` looks back in time."""

    purpose: str | None = None
    country: str | None = None  # ISO 3166-1 alpha-2, of the contact
    state: State | None = None
    grade: Grade | None = None  # of the consent in force
    method: str | None = None
    notice_id: UUID | None = None
    collection_point: str | None = None
    import_id: UUID | None = None  # the batch the consent in force came with
    contact_ids: tuple[UUID, ...] = ()
    campaign_id: UUID | None = None  # people with a message in it
    as_of_seq: int | None = None


async def in_words(session: AsyncSession, filters: AuditFilters) -> dict[str, str]:
    """Each limit by its name, and what it names by what people call it; how many people instead of a list of ids."""
    campaign = await session.get(Campaign, filters.campaign_id) if filters.campaign_id else None
    batch = await session.get(Import, filters.import_id) if filters.import_id else None
    notice = await session.get(Notice, filters.notice_id) if filters.notice_id else None
    named = {
        "campaign": _named(campaign.name if campaign else None, filters.campaign_id),
        "purpose": filters.purpose,
        "country": filters.country,
        "state": filters.state.value if filters.state else None,
        "grade": filters.grade.value if filters.grade else None,
        "method": filters.method,
        "notice": _named(f"{notice.code} v{notice.version}" if notice else None, filters.notice_id),
        "collection point": filters.collection_point,
        "import": _named(batch.filename if batch else None, filters.import_id),
        "people": f"{len(filters.contact_ids):,}" if filters.contact_ids else None,
        "as of record": f"{filters.as_of_seq:,}" if filters.as_of_seq else None,
    }
    return {name: value for name, value in named.items() if value is not None}


def _named(name: str | None, given: UUID | None) -> str | None:
    return f"{name} ({given})" if name else str(given) if given else None
