"""Recording a chunk of an import: people made or changed, their consents sealed, a verdict for every row."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from uuid import UUID
from zoneinfo import available_timezones

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent import ledger, stored
from core.consent.acts import Act
from core.consent.imports import ImportOutcome, RowFacts, classify
from core.consent.registry import Registry, load_registry
from core.consent.state import Grade, State, covers
from core.db import copy_rows, expect_many
from core.keys import Keyring
from core.models import Contact, Import
from core.services import audiences, consents, contacts, imports, imports_approval, imports_erased
from core.services.imports_acts import Saying, Sayings, why
from core.services.imports_columns import CONSENT_FIELDS, Options
from core.services.imports_rows import Row, Value
from core.services.judging import Judged, Newcomer, Outcome, judge
from core.settings import Settings
from core.statuses import ImportStatus, MergePolicy

CHUNK = 5_000  # rows of one transaction; whoever withdraws meanwhile waits for the end of it
CONTACT_ONLY = "contact_only"
DOWNLOADED = ("rejected", "not_sendable")  # verdicts whose rows are kept as they came
_FACTS = ("name", "language", "country", "time_zone")


@dataclass
class Check:
    """A run that writes nothing but verdicts; remembers whom the file itself has opted out so far.

    With `records_outs` it writes the opt-outs: somebody asked for the file, and only its opt-ins have to wait.
    """

    records_outs: bool = False
    stopped: dict[str, set[str]] = field(default_factory=dict)  # match key → scopes

    def refuses(self, row: Row, purpose: str) -> bool:
        return any(covers(scope, purpose) for scope in self.stopped.get(row.match_key, ()))


@dataclass(frozen=True)
class Desk:
    """What recording needs besides the rows, the same for a whole import."""

    options: Options
    keyring: Keyring
    settings: Settings
    check: Check | None = None
    outs_were_recorded: bool = False  # by a check of the same file: they are no duplicates now

    def writes(self, chunk: Sequence[tuple[Row, bool]]) -> bool:
        """Whether a chunk is recorded, and not only judged."""
        if self.check is None:
            return True
        return self.check.records_outs and all(row.action == "opt_out" for row, _ in chunk)


@dataclass
class _Person:
    """A contact as this chunk leaves it."""

    id: UUID
    facts: dict[str, str | None]
    attributes: dict[str, Value]
    before: dict[str, object] | None = None  # what was changed, as it was; null for somebody new
    address: Row | None = None  # of somebody new

    def merge(self, row: Row, policy: MergePolicy) -> None:
        """Take over what the row says, as far as the policy lets it; a person made by this chunk is filled."""
        if policy is MergePolicy.SKIP and self.before is not None:
            return
        over = policy is MergePolicy.OVERWRITE
        for name, value in _facts(row).items():
            said = name in row.values  # a number's own country and zone never replace what is known
            if value and self.facts[name] != value and (not self.facts[name] or (over and said)):
                self._was(name, self.facts[name])
                self.facts[name] = value
        for name, written in row.attributes.items():
            if name not in self.attributes or (over and self.attributes[name] != written):
                self._was(f"attributes.{name}", self.attributes.get(name))
                self.attributes[name] = written

    def _was(self, name: str, value: object) -> None:
        if self.before is not None:
            self.before.setdefault(name, value)

    def after(self) -> dict[str, object]:
        """What was changed, as it is now."""
        now: dict[str, object] = {}
        for name in self.before or {}:
            attribute = name.removeprefix("attributes.")
            now[name] = self.facts[name] if name in self.facts else self.attributes[attribute]
        return now


class _Verdicts:
    """What a chunk comes to, as rows of `import_rows`."""

    def __init__(self, job: Import) -> None:
        self.import_id = job.id
        self.rows: list[tuple[object, ...]] = []
        self.counts: Counter[str] = Counter()

    def add(self, row: Row, verdict: str, reason: str | None = None, contact_id: UUID | None = None) -> None:
        raw = msgspec.json.encode(row.raw).decode() if verdict in DOWNLOADED else None
        self.counts[str(verdict)] += 1
        if row.remark is not None:
            reason = row.remark if reason is None else f"{reason}; {row.remark}"
        self.rows.append((self.import_id, row.number, str(verdict), reason, contact_id, raw))


@dataclass(frozen=True)
class Prepared:
    """A chunk whose people are made and whose rows have their verdicts; its consents wait to be sealed."""

    import_id: UUID
    judged: Judged
    verdicts: Counter[str]
    rows: int
    is_written: bool
    now: datetime


async def prepare_chunk(
    session: AsyncSession, job: Import, chunk: Sequence[tuple[Row, bool]], desk: Desk, *, now: datetime
) -> Prepared:
    """Give each row its verdict and write all but the consents; the caller's transaction goes on to `finish_chunk`.

    Holds every lock of the chunk but those of the import and of the ledger's head. Raises IntegrityError when somebody
    else is making the same contact.
    """
    await expect_many(session)
    is_written = desk.writes(chunk)
    registry = await load_registry(session)
    verdicts = _Verdicts(job)
    good: list[Row] = []
    for row, again in chunk:
        if row.problem is not None:
            verdicts.add(row, ImportOutcome.REJECTED, row.problem)
        elif again:
            verdicts.add(row, ImportOutcome.DUPLICATE, "the same number said the same before in this file")
        else:
            good.append(row)
    good, gone = await imports_erased.part(session, good, desk.keyring)
    for row in gone:
        is_opt_out = row.action == "opt_out"
        verdict = ImportOutcome.OPT_OUT_APPLIED if is_opt_out else ImportOutcome.REFUSED_SUPPRESSED
        verdicts.add(row, verdict, imports_erased.WHY)
    people = await _people(session, good, desk.options.merge)
    acts = _acts(job, good, people, registry, verdicts, now)
    made = [person for person in people.values() if person.before is None]
    newcomers = [
        Newcomer(person.id, person.facts["country"], person.address.match_key)
        for person in made
        if person.address is not None
    ]
    judged = await judge(
        session,
        [act for _, act, _ in acts],
        keyring=desk.keyring,
        settings=desk.settings,
        now=now,
        newcomers=newcomers,
    )
    for (row, act, saying), outcome in zip(acts, judged.outcomes(), strict=True):
        verdict, reason = _judge(row, act, saying, outcome, registry, desk, now)
        verdicts.add(row, verdict, reason, outcome.contact_id)
    if is_written:
        await _store(session, job, people, judged.events_of(), desk.options.audience_id)
    rows = ("import_id", "row_number", "verdict", "reason", "contact_id", "raw")
    kept = verdicts.rows if is_written else _without(verdicts.rows, {person.id for person in made})
    await copy_rows(session, "import_rows", rows, kept)
    return Prepared(job.id, judged, verdicts.counts, len(chunk), is_written, now)


async def finish_chunk(session: AsyncSession, prepared: Prepared, desk: Desk) -> bool:
    """Seal the chunk's consents and move the pointer past its rows, in the transaction it was prepared in.

    False, and nothing done, when the import does not run any more; then the transaction is to be rolled back. Raises
    RuleViolation when more opt-ins could be used than were approved.
    """
    job = await imports.get(session, prepared.import_id, lock=True)
    if job.status is not ImportStatus.RUNNING:
        return False
    if prepared.is_written:
        await consents.seal(session, prepared.judged, keyring=desk.keyring, now=prepared.now)
    job.verdicts = dict(sorted((Counter(job.verdicts) + prepared.verdicts).items()))
    job.rows_done += prepared.rows
    imports_approval.refuse_more(job, desk.settings)
    return True


def _without(rows: Iterable[tuple[object, ...]], nobody: set[UUID]) -> list[tuple[object, ...]]:
    """The rows, naming only contacts who exist."""
    return [(*row[:4], None if row[4] in nobody else row[4], row[5]) for row in rows]


async def _people(session: AsyncSession, good: Sequence[Row], policy: MergePolicy) -> dict[str, _Person]:
    """Match key → person: those known in any spelling are locked and merged with the file, the others are made."""
    owners = await contacts.owners(session, [row.match_key for row in good])
    known: dict[UUID, _Person] = {}
    if owners:
        await stored.lock_contacts(session, owners.values())
        columns = (Contact.id, *(getattr(Contact, name) for name in _FACTS), Contact.attributes)
        for found in await session.execute(select(*columns).where(stored.among(Contact.id, owners.values()))):
            contact_id, *facts, attributes = found
            known[contact_id] = _Person(contact_id, dict(zip(_FACTS, facts, strict=True)), dict(attributes), {})
    people = {key: known[owner] for key, owner in owners.items()}
    ids = ledger.new_event_ids(len(good))
    for row in good:
        person = people.get(row.match_key)
        if person is None:
            person = _Person(next(ids), _facts(row), dict(row.attributes), address=row)
            people[row.match_key] = person
        else:
            person.merge(row, policy)
    return people


def _facts(row: Row) -> dict[str, str | None]:
    return {
        "name": row.values.get("name", "")[:200] or None,
        "language": row.values.get("language", "")[:35] or None,
        "country": row.country,
        "time_zone": _zone(row.values.get("time_zone")) or row.time_zone,
    }


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _zone(name: str | None) -> str | None:
    return name if name in _zones() else None


_UPDATE = text("""
    UPDATE contacts SET name = new.name, language = new.language, country = new.country, time_zone = new.time_zone,
           attributes = CAST(new.attributes AS jsonb)
      FROM unnest(CAST(:ids AS uuid[]), CAST(:name AS text[]), CAST(:language AS text[]), CAST(:country AS text[]),
                  CAST(:time_zone AS text[]), CAST(:attributes AS text[]))
        AS new (id, name, language, country, time_zone, attributes)
     WHERE contacts.id = new.id
""")

# What an earlier chunk of the same import changed keeps the value of before that chunk.
_REMEMBER = text("""
    INSERT INTO import_changes AS known (import_id, contact_id, before, after)
    SELECT :import_id, contact_id, CAST(before AS jsonb), CAST(after AS jsonb)
      FROM unnest(CAST(:ids AS uuid[]), CAST(:before AS text[]), CAST(:after AS text[]))
        AS new (contact_id, before, after)
    ON CONFLICT (import_id, contact_id) DO UPDATE
       SET before = excluded.before || known.before, after = known.after || excluded.after
""")


async def _store(
    session: AsyncSession,
    job: Import,
    people: Mapping[str, _Person],
    events: Mapping[UUID, int],
    audience_id: UUID | None,
) -> None:
    """Write new people and their addresses, changes to the others, and who is now on the list."""
    everybody = {person.id: person for person in people.values()}.values()
    made = [person for person in everybody if person.before is None]
    columns = ("id", *_FACTS, "attributes", "import_id", "consent_version")
    rows = (
        (
            person.id,
            *(person.facts[name] for name in _FACTS),
            msgspec.json.encode(person.attributes).decode(),
            job.id,
            events.get(person.id, 0),
        )
        for person in made
    )
    addresses = [
        (person.id, "phone", person.address.e164, person.address.match_key)
        for person in made
        if person.address is not None
    ]
    if made:
        await copy_rows(session, "contacts", columns, rows)
        await copy_rows(session, "contact_addresses", ("contact_id", "kind", "value", "match_key"), addresses)
    changed = [person for person in everybody if person.before]
    if changed:
        facts = {name: [person.facts[name] for person in changed] for name in _FACTS}
        ids = [person.id for person in changed]
        written = [msgspec.json.encode(person.attributes).decode() for person in changed]
        await session.execute(_UPDATE, {"ids": ids, **facts, "attributes": written})
        before = [msgspec.json.encode(person.before).decode() for person in changed]
        after = [msgspec.json.encode(person.after()).decode() for person in changed]
        await session.execute(_REMEMBER, {"import_id": job.id, "ids": ids, "before": before, "after": after})
    if audience_id is not None:
        await audiences.add_members(
            session, audience_id, [person.id for person in everybody if person.before is not None], import_id=job.id
        )
        members = ((audience_id, person.id, job.id) for person in made)
        await copy_rows(session, "audience_members", ("audience_id", "contact_id", "import_id"), members)


def _acts(
    job: Import,
    good: Sequence[Row],
    people: Mapping[str, _Person],
    registry: Registry,
    verdicts: _Verdicts,
    now: datetime,
) -> list[tuple[Row, Act, Saying]]:
    """What the rows say about consent; a row that says nothing, or not when, has its verdict at once."""
    acts = []
    sayings = Sayings(job, registry, now)
    for row in good:
        contact_id = people[row.match_key].id
        if not row.action:
            if any(name in row.values for name in CONSENT_FIELDS):
                verdicts.add(
                    row, ImportOutcome.NOT_SENDABLE, "nothing says that they agreed: action is empty", contact_id
                )
            else:
                verdicts.add(row, CONTACT_ONLY, contact_id=contact_id)
        elif row.action == "opt_in" and row.occurred_at is None:
            verdicts.add(row, ImportOutcome.NOT_SENDABLE, "occurred_at is missing", contact_id)
        else:
            acts.append((row, *sayings.act_of(row, contact_id)))
    return acts


def _judge(
    row: Row, act: Act, saying: Saying, outcome: Outcome, registry: Registry, desk: Desk, now: datetime
) -> tuple[ImportOutcome, str | None]:
    """The row's verdict, and why; worked out once for all that say the same and came to the same."""
    purpose = registry.purposes.get(act.purpose)
    # A grant too weak or too old is turned away for that first; whoever said stop is refused all the same.
    refused = outcome.rule == "14" or outcome.state is State.WITHDRAWN
    if desk.check is not None:
        if act.is_grant:
            refused = refused or desk.check.refuses(row, act.purpose)
        else:
            desk.check.stopped.setdefault(row.match_key, set()).add(act.purpose)
    is_duplicate = outcome.is_duplicate and (act.is_grant or not desk.outs_were_recorded)
    validity = purpose.validity_days if purpose else 0
    is_over = act.occurred_at + timedelta(days=validity) <= now
    case = (refused, outcome.grade, is_duplicate, act.occurred_at > now, is_over)
    known = saying.verdicts.get(case)
    if known is None:
        verdict = classify(
            RowFacts(
                is_opt_out=not act.is_grant,
                number_is_good=True,
                occurred_at=act.occurred_at,
                received_at=now,
                is_complete=not saying.missing,
                grade=outcome.grade or Grade.E,
                min_grade=Grade(purpose.min_grade) if purpose else Grade.C,
                validity_days=validity,
                is_suppressed=refused,
                is_duplicate=is_duplicate,
            )
        )
        saying.verdicts[case] = known = verdict, why(verdict, saying.missing)
    return known
