"""The table of the state machine: what each kind of event does to one purpose, and which row decided; pure.

Each rule changes a track and returns the name of its row. `unlisted` means that the event changed nothing.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta

from core.consent.precedence import PERSONS, Event
from core.consent.tracks import Track
from core.consent.words import HOLD, REAFFIRM_DUE, UNREACHABLE, EventType, Grade, State

REQUEST_TTL = timedelta(hours=48)
TARGETS = ("notice_id", "import_batch", "collection_point", "grant_id")  # what an invalidation may name

Rule = Callable[[Track, Event], str]


def grant(track: Track, event: Event) -> str:
    """Take in a positive event; says which row of the table decided."""
    before = track.state
    rule = _refusal(track, event, before)
    if rule is not None:
        if rule == "expired_on_arrival" and before is State.NONE:
            track.ended, track.reason = State.EXPIRED, None
            track.lapsed.append(event)
        return rule
    row = {
        State.PENDING: "2" if event.event_type is EventType.CONFIRMED else "5",
        State.SUBSCRIBED: "7" if event.event_type is EventType.REAFFIRMED else "6",
        State.WITHDRAWN: "13",
        State.EXPIRED: "16",
    }.get(before, "5")
    track.grants.append(event)
    if "future_clamped" in event.clock_flags:
        track.overlays.add(HOLD)
    if track.standing is event:
        track.request = None
        track.overlays.discard(REAFFIRM_DUE)
    return row


def _refusal(track: Track, event: Event, before: State) -> str | None:
    """Why a grant does not count, or None."""
    if before is State.CLOSED:
        return "25"
    if event.grade > event.min_grade or event.grade > Grade.C:
        return "below_min_grade"
    if event.expires_at is not None and event.expires_at <= event.received_at:
        return "expired_on_arrival"
    if any(not event.beats(negative) for negative in track.negatives.values()):
        return "14"
    return _out_of_turn(track, event, before)


def _out_of_turn(track: Track, event: Event, before: State) -> str | None:
    """A confirmation nobody asked for or that came too late, a reaffirmation of nothing or by somebody else."""
    if event.event_type is EventType.CONFIRMED:
        if track.request is not None and event.effective_at > track.request.effective_at + REQUEST_TTL:
            track.request = None
            return "3"
        return "unlisted" if before in (State.NONE, State.INVALID) else None
    is_persons = event.actor_type in PERSONS
    if event.event_type is EventType.REAFFIRMED and not (before is State.SUBSCRIBED and is_persons):
        return "unlisted"
    return None


def _withdraw(track: Track, event: Event) -> str:
    if track.closed:
        return "25"
    if event.event_type is EventType.DECLINED and track.request is None:
        return "unlisted"
    before = track.state
    late_and_doubtful = (
        "untrusted_source" in event.clock_flags
        and before is State.SUBSCRIBED
        and any(event.occurred_at < grant.effective_at for grant in track.grants)
    )
    if late_and_doubtful:
        track.overlays.add(HOLD)
    track.remember(event)
    if track.request is not None and event.effective_at >= track.request.effective_at:
        track.request = None
    if event.event_type is EventType.META_STOPPED:
        stopped_at = track.stops.get(event.sender_scope, event.effective_at)
        track.stops[event.sender_scope] = max(stopped_at, event.effective_at)
    if track.standing is not None:
        return "superseded"
    track.ended, track.reason = State.WITHDRAWN, event.reason or event.event_type.value.lower()
    if event.event_type is EventType.META_STOPPED:
        return "9"
    return "4" if before is State.PENDING else "8"


def _resume(track: Track, event: Event) -> str:
    resumed_at = track.resumes.get(event.sender_scope, event.effective_at)
    track.resumes[event.sender_scope] = max(resumed_at, event.effective_at)
    return "10" if track.reason == "meta_stop" else "11"


def _request(track: Track, event: Event) -> str:
    before = track.state
    if before in (State.SUBSCRIBED, State.CLOSED):
        return "6" if before is State.SUBSCRIBED else "25"
    own_route = event.actor_type == "data_subject" and (event.method or "").startswith(("wa_", "pref_centre"))
    if track.negatives and not own_route:
        return "unlisted"  # nobody else may ask a person who said no
    track.request = event
    return "12" if track.negatives else "1"


def _expire(track: Track, event: Event) -> str:
    if track.request is not None and event.effective_at > track.request.effective_at + REQUEST_TTL:
        track.request = None
        return "3"
    had = track.standing is not None
    track.lapsed += [g for g in track.grants if g.expires_at is not None and g.expires_at <= event.effective_at]
    track.grants = [g for g in track.grants if g.expires_at is None or g.expires_at > event.effective_at]
    if not had or track.standing is not None:
        return "unlisted"
    track.ended, track.reason = State.EXPIRED, "expiry"
    return "15"


def _invalidate(track: Track, event: Event) -> str:
    """All consents, or only those that rest on the notice, import, collection point or event that `refs` names.

    Nobody who said stop is touched. Whatever was granted besides and had no effect goes with the grant it stood
    behind, unless it was an act of the person: closed is safe.
    """
    before = track.state
    if before in (State.CLOSED, State.WITHDRAWN):
        return "unlisted"
    named = {key: value for key, value in event.refs.items() if key in TARGETS}
    stood, requested = track.standing, track.request
    resting = [*track.alive, *([] if stood else track.lapsed), *([requested] if requested else [])]
    meant = [each for each in resting if rests_on(each, named)]
    if named and not meant:
        return "unlisted"
    track.grants = [each for each in track.grants if each not in meant]
    track.lapsed = [each for each in track.lapsed if each not in meant]
    if stood in meant:
        track.grants = [each for each in track.grants if _is_persons(each)]
    if requested in meant:
        track.request = None
    is_over = stood in meant or requested in meant or (before is State.EXPIRED and not track.lapsed)
    if track.standing is None and (is_over or not named):
        track.end(State.INVALID, event.reason or "invalidated")
    return "17"


def _is_persons(grant: Event) -> bool:
    """Whether somebody confirmed or reaffirmed it, or gave it from their own account."""
    is_answer = grant.event_type is not EventType.GRANTED and grant.actor_type in PERSONS
    return is_answer or grant.is_own_act


def rests_on(each: Event, named: Mapping[str, object]) -> bool:
    """Whether a grant or request is one that an invalidation naming this (`TARGETS` → value) reaches."""
    facts = {
        "notice_id": str(each.notice_id),
        "import_batch": each.refs.get("import_batch"),
        "collection_point": each.collection_point,
        "grant_id": str(each.event_id),
    }
    return all(facts[key] == value for key, value in named.items() if key in facts)


def _close(track: Track, event: Event) -> str:
    track.closed, track.request, track.grants = True, None, []
    track.reason = event.reason or event.event_type.value.lower()
    return "23" if event.event_type is EventType.ERASED else "22"


def _overlay(word: str, *, on: bool, row: str) -> Rule:
    def rule(track: Track, _: Event) -> str:
        if on:
            track.overlays.add(word)
        else:
            track.overlays.discard(word)
        return row

    return rule


def _annotate(_track: Track, _event: Event) -> str:
    return "note"


# What each event that is no grant does to every purpose inside its scope.
RULES: dict[EventType, Rule] = {
    EventType.REQUESTED: _request,
    EventType.WITHDRAWN: _withdraw,
    EventType.OBJECTED: _withdraw,
    EventType.DECLINED: _withdraw,
    EventType.META_STOPPED: _withdraw,
    EventType.SUPPRESSED: _withdraw,
    EventType.META_RESUMED: _resume,
    EventType.EXPIRED: _expire,
    EventType.INVALIDATED: _invalidate,
    EventType.TENURE_CLOSED: _close,
    EventType.ERASED: _close,
    EventType.HOLD_PLACED: _overlay(HOLD, on=True, row="18"),
    EventType.HOLD_RELEASED: _overlay(HOLD, on=False, row="19"),
    EventType.UNREACHABLE_SET: _overlay(UNREACHABLE, on=True, row="21"),
    EventType.UNREACHABLE_CLEARED: _overlay(UNREACHABLE, on=False, row="21"),
    EventType.REAFFIRM_DUE: _overlay(REAFFIRM_DUE, on=True, row="reaffirm"),
    EventType.CORRECTION: _annotate,
    EventType.IDENTIFIER_LINKED: _annotate,
}
