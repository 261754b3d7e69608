"""The state machine, row by row, and what beats what."""

from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.consent.state import (
    NEGATIVE,
    POSITIVE,
    Event,
    EventType,
    Fold,
    Grade,
    Permission,
    State,
    covers,
    replay,
    scopes_of,
)

T0 = datetime(2026, 6, 1, 12, tzinfo=UTC)
CHAT, FORM, FILE = "wa_webhook", "web_form", "import"


class Story:
    """Events written as seconds after T0."""

    def __init__(self) -> None:
        self.fold = Fold()
        self.numbers = count(1)

    def tell(self, kind: EventType, at: float = 0, *, purpose: str = "marketing", **facts: Any) -> str:
        """Apply an event; returns the row that decided."""
        return self.fold.apply(event(kind, at, purpose=purpose, subject_event_no=next(self.numbers), **facts)).rule

    def state(self, purpose: str = "marketing") -> State:
        return self.fold.state(purpose)

    def permission(self, purpose: str = "marketing") -> Permission:
        return self.fold.permissions()[purpose]


def event(kind: EventType, at: float = 0, *, heard: float | None = None, **facts: Any) -> Event:
    """By default the person's own tap in the chat."""
    defaults: dict[str, Any] = {
        "event_id": uuid4(),
        "purpose": "marketing",
        "source": CHAT,
        "actor_type": "data_subject",
        "method": "wa_button",
        "grade": Grade.B,
        "expires_at": T0 + timedelta(days=730) if kind in POSITIVE else None,
    }
    instant = T0 + timedelta(seconds=at)
    received = instant if heard is None else T0 + timedelta(seconds=heard)
    return Event(event_type=kind, occurred_at=instant, received_at=received, **(defaults | facts))


TYPED = {"source": FORM, "method": "web_form", "grade": Grade.C}
IMPORTED = {"source": FILE, "method": "web_form", "grade": Grade.C, "actor_type": "import"}


@pytest.fixture
def story() -> Story:
    return Story()


def test_row_1_and_2_a_request_is_confirmed(story: Story) -> None:
    assert story.tell(EventType.REQUESTED, 0, **TYPED) == "1"
    assert story.state() is State.PENDING
    assert story.tell(EventType.CONFIRMED, 60) == "2"
    assert story.state() is State.SUBSCRIBED


def test_row_3_a_code_that_comes_after_48_hours_is_worth_nothing(story: Story) -> None:
    story.tell(EventType.REQUESTED, 0, **TYPED)

    assert story.tell(EventType.CONFIRMED, 48 * 3600 + 1) == "3"
    assert story.state() is State.NONE


def test_row_3_a_request_lapses_by_the_clock(story: Story) -> None:
    story.tell(EventType.REQUESTED, 0, **TYPED)

    assert story.tell(EventType.EXPIRED, 48 * 3600 + 1, actor_type="system") == "3"
    assert story.state() is State.NONE


@pytest.mark.parametrize("word", [EventType.DECLINED, EventType.WITHDRAWN])
def test_row_4_no_to_a_request_withdraws(story: Story, word: EventType) -> None:
    story.tell(EventType.REQUESTED, 0, **TYPED)

    assert story.tell(word, 60) == "4"
    assert story.state() is State.WITHDRAWN


@pytest.mark.parametrize("how", [{}, TYPED, IMPORTED])
def test_row_5_one_step_grants(story: Story, how: dict[str, Any]) -> None:
    assert story.tell(EventType.GRANTED, 0, **how) == "5"
    assert story.state() is State.SUBSCRIBED


def test_row_6_typing_the_number_again_changes_nothing(story: Story) -> None:
    story.tell(EventType.GRANTED, 0)
    before = story.permission()

    assert story.tell(EventType.REQUESTED, 60, **TYPED) == "6"
    assert story.tell(EventType.GRANTED, 90, **TYPED) == "6"
    assert story.permission() == before


def test_row_7_the_person_reaffirms_and_it_lasts_longer(story: Story) -> None:
    story.tell(EventType.GRANTED, 0)
    later = T0 + timedelta(days=1000)

    assert story.tell(EventType.REAFFIRMED, 60, expires_at=later) == "7"
    assert story.permission().expires_at == later
    assert story.tell(EventType.REAFFIRMED, 90, actor_type="staff", expires_at=later) == "unlisted"


@pytest.mark.parametrize("word", [EventType.WITHDRAWN, EventType.OBJECTED])
@pytest.mark.parametrize("scope", ["marketing", "marketing.*", "*"])
def test_row_8_a_withdrawal_withdraws_in_its_scope(story: Story, word: EventType, scope: str) -> None:
    story.tell(EventType.GRANTED, 0)
    story.tell(EventType.GRANTED, 0, purpose="transactional")

    assert story.tell(word, 60, purpose=scope) == "8"
    assert story.state() is State.WITHDRAWN
    assert story.state("marketing.events") is (State.NONE if scope == "marketing" else State.WITHDRAWN)
    assert story.state("transactional") is (State.WITHDRAWN if scope == "*" else State.SUBSCRIBED)


def test_rows_9_to_11_a_stop_at_the_provider_withdraws_and_its_end_only_lifts_the_overlay(story: Story) -> None:
    story.tell(EventType.GRANTED, 0)

    story.tell(EventType.META_STOPPED, 60, purpose="marketing.*", sender_scope="1", reason="meta_stop")
    assert (story.state(), story.permission().overlays) == (State.WITHDRAWN, ("meta_stop:1",))
    assert story.tell(EventType.META_RESUMED, 90, purpose="marketing.*", sender_scope="1") == "10"
    assert (story.state(), story.permission().overlays) == (State.WITHDRAWN, ())


def test_row_11_a_typed_stop_outlives_a_later_stop_and_resume(story: Story) -> None:
    story.tell(EventType.GRANTED, 0)
    story.tell(EventType.WITHDRAWN, 60, reason="stop_word")
    story.tell(EventType.META_STOPPED, 90, purpose="marketing.*", reason="meta_stop")
    story.tell(EventType.META_RESUMED, 120, purpose="marketing.*")

    assert story.state() is State.WITHDRAWN


def test_an_agreement_in_the_chat_does_not_lift_a_stop_at_the_provider(story: Story) -> None:
    story.tell(EventType.META_STOPPED, 0, purpose="marketing.*", sender_scope="1")

    assert story.tell(EventType.GRANTED, 300) == "13"
    assert (story.state(), story.permission().overlays) == (State.SUBSCRIBED, ("meta_stop:1",))


@pytest.mark.parametrize(
    "order", [(EventType.META_STOPPED, EventType.META_RESUMED), (EventType.META_RESUMED, EventType.META_STOPPED)]
)
def test_stop_and_resume_in_the_same_second_stop(story: Story, order: tuple[EventType, EventType]) -> None:
    story.tell(EventType.GRANTED, -60)

    for kind in order:
        story.tell(kind, 0, purpose="marketing.*", sender_scope="1")

    assert (story.state(), story.permission().overlays) == (State.WITHDRAWN, ("meta_stop:1",))


def test_row_12_and_13_the_person_may_come_back_by_asking(story: Story) -> None:
    story.tell(EventType.WITHDRAWN, 0)

    assert story.tell(EventType.REQUESTED, 60, method="wa_keyword") == "12"
    assert story.state() is State.PENDING
    assert story.tell(EventType.CONFIRMED, 80) == "2"
    assert story.state() is State.SUBSCRIBED


def test_row_12_nobody_else_may_ask_somebody_who_said_no(story: Story) -> None:
    story.tell(EventType.WITHDRAWN, 0)

    assert story.tell(EventType.REQUESTED, 60, **TYPED) == "unlisted"
    assert story.state() is State.WITHDRAWN


@pytest.mark.parametrize(
    "how", [TYPED, IMPORTED, IMPORTED | {"grade": Grade.B}, {"actor_type": "staff"}, {"actor_type": "api"}]
)
def test_row_14_nobody_is_revived_by_an_import_an_api_a_form_or_staff(story: Story, how: dict[str, Any]) -> None:
    story.tell(EventType.WITHDRAWN, 0)

    assert story.tell(EventType.GRANTED, 86400, **how) == "14"
    assert story.state() is State.WITHDRAWN


def test_row_15_and_16_consent_ends_and_may_be_given_again(story: Story) -> None:
    story.tell(EventType.GRANTED, 0, expires_at=T0 + timedelta(days=1))

    assert story.tell(EventType.EXPIRED, 86400, actor_type="system") == "15"
    assert story.state() is State.EXPIRED
    assert story.tell(EventType.GRANTED, 90000) == "16"
    assert story.state() is State.SUBSCRIBED


def test_a_grant_that_is_over_when_it_arrives_is_expired(story: Story) -> None:
    story.tell(EventType.GRANTED, -900, heard=0, expires_at=T0)

    assert story.state() is State.EXPIRED


def test_row_17_what_a_defective_notice_brought_in_is_invalid_and_nothing_else(story: Story) -> None:
    bad, good = UUID(int=1), UUID(int=2)
    story.tell(EventType.GRANTED, 0, notice_id=bad)
    refs: dict[str, str | list[str]] = {"notice_id": str(bad)}

    assert story.tell(EventType.INVALIDATED, 60, refs=refs, actor_type="staff") == "17"
    assert story.state() is State.INVALID
    story.tell(EventType.GRANTED, 90, notice_id=good)
    assert story.tell(EventType.INVALIDATED, 120, refs=refs, actor_type="staff") == "unlisted"
    assert story.state() is State.SUBSCRIBED


def test_an_invalidated_withdrawal_is_still_a_withdrawal_for_imports(story: Story) -> None:
    story.tell(EventType.WITHDRAWN, 0)
    assert story.tell(EventType.INVALIDATED, 60, actor_type="staff") == "unlisted"

    assert story.tell(EventType.GRANTED, 90, **IMPORTED) == "14"

    assert story.state() is State.WITHDRAWN


BAD: dict[str, str | list[str]] = {"import_batch": "bad"}
FROM_BAD = IMPORTED | {"refs": BAD}


def test_somebody_who_said_stop_is_never_made_invalid(story: Story) -> None:
    story.tell(EventType.GRANTED, 0, **FROM_BAD)
    story.tell(EventType.WITHDRAWN, 60)

    assert story.tell(EventType.INVALIDATED, 120, refs=BAD, actor_type="staff") == "unlisted"

    assert story.state() is State.WITHDRAWN
    assert story.tell(EventType.GRANTED, 9999, **IMPORTED | {"refs": {"import_batch": "next"}}) == "14"


def test_a_withdrawal_that_only_an_invalid_grant_outlived_counts_again(story: Story) -> None:
    story.tell(EventType.WITHDRAWN, 0, reason="stop_word")
    assert story.tell(EventType.GRANTED, 300, collection_point="form/bad") == "13"

    refs: dict[str, str | list[str]] = {"collection_point": "form/bad"}
    assert story.tell(EventType.INVALIDATED, 600, refs=refs, actor_type="staff") == "17"

    assert (story.state(), story.permission().reason) == (State.WITHDRAWN, "stop_word")
    assert story.tell(EventType.GRANTED, 9999, **IMPORTED) == "14"
    assert story.tell(EventType.GRANTED, 9999) == "13"


def test_a_stop_that_comes_after_the_invalidation_withdraws(story: Story) -> None:
    story.tell(EventType.GRANTED, 0, **FROM_BAD)
    story.tell(EventType.INVALIDATED, 60, refs=BAD, actor_type="staff")

    assert story.tell(EventType.WITHDRAWN, 30, heard=120) == "8"
    assert (story.state(), story.tell(EventType.GRANTED, 9999, **IMPORTED)) == (State.WITHDRAWN, "14")


def test_a_later_act_of_the_person_outlives_a_bad_import_and_a_later_file_does_not(story: Story) -> None:
    for purpose, later in (("marketing", {}), ("marketing.events", IMPORTED | {"refs": {"import_batch": "good"}})):
        story.tell(EventType.GRANTED, 0, purpose=purpose, **FROM_BAD)
        assert story.tell(EventType.GRANTED, 60, purpose=purpose, **later) == "6"
        assert story.tell(EventType.INVALIDATED, 120, purpose=purpose, refs=BAD, actor_type="staff") == "17"

    assert (story.state(), story.state("marketing.events")) == (State.SUBSCRIBED, State.INVALID)


def test_a_bad_grant_behind_a_good_one_does_not_come_into_force_when_that_ends(story: Story) -> None:
    good = {"refs": {"import_batch": "good"}, "expires_at": T0 + timedelta(days=1)}
    story.tell(EventType.GRANTED, 0, **IMPORTED | good)
    story.tell(EventType.GRANTED, 60, **FROM_BAD)

    assert story.tell(EventType.INVALIDATED, 120, refs=BAD, actor_type="staff") == "17"
    assert story.state() is State.SUBSCRIBED
    story.tell(EventType.EXPIRED, 86400, actor_type="system")
    assert story.state() is State.EXPIRED


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(
    ("told", "before"),
    [
        ([(EventType.REQUESTED, 0)], State.PENDING),
        ([(EventType.GRANTED, 0), (EventType.EXPIRED, 86400 * 800)], State.EXPIRED),
        ([(EventType.GRANTED, -86400 * 800)], State.EXPIRED),
    ],
)
def test_what_waits_or_has_expired_becomes_invalid_too(
    story: Story, told: list[tuple[EventType, float]], before: State, held: bool
) -> None:
    over = {"expires_at": T0} if told[0][1] < 0 else {}
    for kind, at in told:
        story.tell(kind, at, heard=max(at, 0), **FROM_BAD | over)
    if held:
        story.tell(EventType.HOLD_PLACED, 86400 * 801)
    assert story.state() is before
    assert story.tell(EventType.INVALIDATED, 86400 * 802, refs={"import_batch": "x"}, actor_type="staff") == "unlisted"

    assert story.tell(EventType.INVALIDATED, 86400 * 802, refs=BAD, actor_type="staff") == "17"

    assert (story.state(), story.permission().overlays) == (State.INVALID, ("hold",) if held else ())


def test_rows_18_to_21_overlays_come_and_go(story: Story) -> None:
    story.tell(EventType.GRANTED, 0)
    story.tell(EventType.HOLD_PLACED, 1, purpose="marketing.*")
    story.tell(EventType.UNREACHABLE_SET, 2)

    assert story.permission().overlays == ("hold", "unreachable")
    story.tell(EventType.HOLD_RELEASED, 3, purpose="marketing.*")
    story.tell(EventType.UNREACHABLE_CLEARED, 4)
    assert (story.state(), story.permission().overlays) == (State.SUBSCRIBED, ())


def test_a_hold_on_a_scope_reaches_purposes_that_come_later(story: Story) -> None:
    story.tell(EventType.HOLD_PLACED, 0, purpose="*")
    story.tell(EventType.GRANTED, 60)

    assert story.permission().overlays == ("hold",)


@pytest.mark.parametrize("end", [EventType.TENURE_CLOSED, EventType.ERASED])
def test_rows_22_23_and_25_the_end_is_for_ever(story: Story, end: EventType) -> None:
    story.tell(EventType.GRANTED, 0)
    story.tell(end, 60, purpose="*", actor_type="system")

    assert story.tell(EventType.GRANTED, 9999) == "25"
    assert story.tell(EventType.WITHDRAWN, 9999) == "25"
    assert {story.state(), story.state("service")} == {State.CLOSED}


@pytest.mark.parametrize(
    ("grade", "weakest", "state"),
    [
        (Grade.C, Grade.C, State.SUBSCRIBED),
        (Grade.C, Grade.B, State.NONE),
        (Grade.B, Grade.B, State.SUBSCRIBED),
        (Grade.D, Grade.E, State.NONE),
        (Grade.E, Grade.E, State.NONE),
    ],
)
def test_a_grant_proven_too_weakly_does_not_count(story: Story, grade: Grade, weakest: Grade, state: State) -> None:
    story.tell(EventType.GRANTED, 0, grade=grade, min_grade=weakest)

    assert story.state() is state


def test_a_late_withdrawal_does_not_undo_a_newer_agreement(story: Story) -> None:
    story.tell(EventType.GRANTED, 86400)

    assert story.tell(EventType.WITHDRAWN, 0, heard=2 * 86400, purpose="marketing.*") == "8"
    assert story.state() is State.SUBSCRIBED
    assert story.state("marketing.events") is State.WITHDRAWN


def test_an_older_withdrawal_does_not_hide_a_newer_one(story: Story) -> None:
    story.tell(EventType.WITHDRAWN, 100)
    story.tell(EventType.WITHDRAWN, 0, heard=110)

    assert story.tell(EventType.GRANTED, 50, heard=120) == "14"


def test_a_late_withdrawal_of_doubtful_date_counts_as_now_and_is_held(story: Story) -> None:
    story.tell(EventType.GRANTED, 86400)

    story.tell(EventType.WITHDRAWN, 0, heard=2 * 86400, source="api", clock_flags=("untrusted_source",))

    assert (story.state(), story.permission().overlays) == (State.WITHDRAWN, ("hold",))


@pytest.mark.parametrize(
    ("apart", "grant_source", "state"),
    [
        (20, CHAT, State.SUBSCRIBED),
        (0, CHAT, State.WITHDRAWN),
        (60, "pref_centre", State.WITHDRAWN),
        (120, "pref_centre", State.WITHDRAWN),
        (121, "pref_centre", State.SUBSCRIBED),
        (-60, "pref_centre", State.WITHDRAWN),
    ],
)
@pytest.mark.parametrize("is_stop_first", [True, False])
def test_clocks_of_two_sources_may_disagree_by_two_minutes(
    story: Story, apart: float, grant_source: str, state: State, is_stop_first: bool
) -> None:
    told = [(EventType.WITHDRAWN, 0.0, CHAT), (EventType.GRANTED, apart, grant_source)]

    for kind, at, source in told if is_stop_first else reversed(told):
        story.tell(kind, at, source=source)

    assert story.state() is state


def test_a_grant_dated_ahead_is_held(story: Story) -> None:
    story.tell(EventType.GRANTED, 86400 * 365, heard=0, clock_flags=("future_clamped",))

    assert story.permission().overlays == ("hold",)


def test_a_revoking_event_names_what_still_stands(story: Story) -> None:
    story.tell(EventType.GRANTED, 86400)

    change = story.fold.apply(event(EventType.WITHDRAWN, 0, purpose="marketing.*"))

    assert change.kept == ("marketing",)


def test_scopes_cover_what_they_say() -> None:
    assert covers("marketing.*", "marketing")
    assert covers("marketing.*", "marketing.events")
    assert not covers("marketing.*", "marketingx")
    assert not covers("marketing", "marketing.events")
    assert scopes_of("marketing.events") == ("marketing.events", "marketing.events.*", "marketing.*", "*")
    assert all(covers(scope, "marketing.events") for scope in scopes_of("marketing.events"))


SPOKEN = st.builds(
    lambda kind, at, how, purpose, sender: event(
        kind,
        at,
        purpose=purpose if kind in NEGATIVE else purpose.removesuffix(".*").replace("*", "service"),
        sender_scope=sender,
        **how,
    ),
    st.sampled_from([EventType.GRANTED, EventType.WITHDRAWN, EventType.OBJECTED, EventType.META_STOPPED]),
    st.integers(0, 600),
    st.sampled_from([{}, TYPED, IMPORTED, {"grade": Grade.A}, {"actor_type": "staff"}]),
    st.sampled_from(["marketing", "marketing.*", "*", "marketing.events"]),
    st.sampled_from(["1", "2"]),
)


def _states(events: list[Event]) -> dict[str, State]:
    fold = Fold()
    for told in events:
        fold.apply(told)
    return {purpose: fold.state(purpose) for purpose in ("marketing", "marketing.events", "service", "transactional")}


def _subscribed(states: dict[str, State]) -> set[str]:
    return {purpose for purpose, state in states.items() if state is State.SUBSCRIBED}


@given(st.lists(SPOKEN, max_size=8), st.randoms())
def test_what_was_said_leads_to_one_state_in_any_order_and_however_often(events: list[Event], random: Random) -> None:
    again = random.sample(events * 2, k=2 * len(events))

    assert _states(events) == _states(again)


@given(st.lists(SPOKEN, max_size=6), SPOKEN.filter(lambda told: told.event_type in NEGATIVE))
def test_a_withdrawal_never_widens_consent(events: list[Event], negative: Event) -> None:
    before, after = _states(events), _states([*events, negative])

    assert _subscribed(after) <= _subscribed(before)


@given(st.lists(SPOKEN, max_size=6), SPOKEN.filter(lambda told: told.event_type in POSITIVE))
def test_a_grant_widens_only_what_it_names(events: list[Event], grant: Event) -> None:
    before, after = _states(events), _states([*events, grant])

    assert {purpose for purpose in after if after[purpose] is not before[purpose]} <= {grant.purpose}


@given(st.lists(SPOKEN, max_size=6))
def test_nobody_who_said_no_is_subscribed_but_by_their_own_later_act(events: list[Event]) -> None:
    for purpose, permission in replay(events).items():
        negatives = [told for told in events if told.event_type in NEGATIVE and covers(told.purpose, purpose)]
        if permission.state is State.SUBSCRIBED and negatives:
            grant = next(told for told in events if told.event_id == permission.grant_id)
            assert grant.is_own_act
            assert all(grant.effective_at > negative.effective_at for negative in negatives)


LIVED = st.builds(
    lambda kind, at, how, point: event(kind, at, collection_point=point, **how),
    st.sampled_from([*POSITIVE, *NEGATIVE, EventType.REQUESTED, EventType.EXPIRED, EventType.HOLD_PLACED]),
    st.integers(0, 600),
    st.sampled_from([{}, TYPED, IMPORTED, {"grade": Grade.A}, {"expires_at": T0 + timedelta(seconds=300)}]),
    st.sampled_from(["bad", "good"]),
)
INVALIDATION = st.builds(
    lambda refs: event(EventType.INVALIDATED, 700, refs=refs, actor_type="staff"),
    st.sampled_from([{}, {"collection_point": "bad"}, {"collection_point": "bad", "invalidation": "1"}]),
)


@given(st.lists(LIVED, max_size=7), INVALIDATION)
def test_an_invalidation_never_widens_consent_and_leaves_who_said_stop_alone(
    events: list[Event], invalidation: Event
) -> None:
    before, after = replay(events), replay([*events, invalidation])

    was = before["marketing"].state if before else State.NONE
    now = after["marketing"]
    assert now.state is not State.SUBSCRIBED or was is State.SUBSCRIBED
    assert was not in (State.WITHDRAWN, State.CLOSED) or now == before["marketing"]
    grants = {each.event_id: each for each in events}
    if now.grant_id is not None and invalidation.refs:
        assert grants[now.grant_id].collection_point != "bad"


@given(st.lists(LIVED, max_size=6), INVALIDATION, st.lists(LIVED.filter(lambda told: not told.is_own_act), max_size=4))
def test_an_invalidation_is_no_way_around_a_stop(events: list[Event], invalidation: Event, later: list[Event]) -> None:
    """Whatever files, forms and staff add afterwards: who is subscribed then would be so without the invalidation."""
    without, within = replay([*events, *later]), replay([*events, invalidation, *later])

    said_stop = any(each.event_type in NEGATIVE for each in events)
    revived = within["marketing"].state is State.SUBSCRIBED and without["marketing"].state is not State.SUBSCRIBED
    assert not (said_stop and revived)
