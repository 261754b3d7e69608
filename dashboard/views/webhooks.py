"""What did WhatsApp tell us, and did all of it arrive?"""

from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import streamlit as st

from core.settings import get_settings
from core.statuses import Severity
from dashboard import controls, format, session, words
from dashboard.payloads import AccountEvent, WebhookOverview

PAGE = 20
MOST = 200  # the API's largest page; a file has them all
SEVERITIES = {
    "": "All",
    Severity.CRITICAL.value: "Critical",
    Severity.WARNING.value: "Warnings",
    Severity.INFO.value: "For information",
}


def _tiles(found: WebhookOverview, zone: str) -> None:
    recorded, waiting, aside, orphans, fields = controls.cells(5, min_width=160)
    recorded.metric("Recorded in the last hour", format.count(found.recorded_last_hour))
    waiting.metric("Waiting", format.count(found.waiting))
    if found.oldest_waiting_at:
        waiting.caption(f"the oldest since {format.instant(found.oldest_waiting_at, zone)}")
    aside.metric("Set aside", format.count(found.set_aside))
    orphans.metric("Not sent by Kairan", format.count(found.orphans))
    if found.parked:
        orphans.caption(f"{format.count(found.parked)} more wait for their message")
    fields.metric("Unknown fields", format.count(found.unknown_fields))


def _events(zone: str) -> None:
    st.subheader("About your templates, numbers and account")
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        severity = st.segmented_control(
            "Importance",
            list(SEVERITIES),
            format_func=SEVERITIES.__getitem__,
            default="",
            key="severity",
            required=True,
        )
    with right:
        found = st.text_input("Find", key="event_search", placeholder="Template, number or word") or ""
    shown = st.session_state.setdefault("events_shown", PAGE)
    page = session.client().account_events(severity=severity or "", q=found.strip(), limit=shown)
    if not page.items:
        st.info(
            "Nothing matches." if found or severity else "Nothing yet. Pauses, limits and warnings will be listed here."
        )
        return
    controls.table(
        {
            "When": [format.instant(event.occurred_at, zone) for event in page.items],
            "About": [event.subject for event in page.items],
            "What": [_what(event) for event in page.items],
            "Importance": [words.plain(event.severity) for event in page.items],
            "What followed": [event.effect or format.DASH for event in page.items],
        }
    )
    filters = {"severity": severity or "", "q": found.strip()}
    _save("account-events", filters)
    if page.next and shown < 200 and st.button("Show more", key="more_events"):
        st.session_state["events_shown"] = min(200, shown + 3 * PAGE)
        st.rerun()


def _what(event: AccountEvent) -> str:
    said = words.plain(event.word.removeprefix("account_")).lower()
    return f"{words.account_event(event.kind)}: {said}"


def _aside(zone: str) -> None:
    st.subheader("Set aside")
    st.caption("Webhooks that could not be recorded. They are kept, and nothing else waits for them.")
    query, many = _asked("aside")
    page = session.client().webhooks_set_aside(q=query, limit=many)
    _search("aside", "Part of the reason", shown=bool(page.items or query))
    if not page.items:
        st.info("Nothing matches." if query else "Everything that came could be recorded.")
        return
    controls.table(
        {
            "Webhook": [str(each.id) for each in page.items],
            "Received": [format.instant(each.received_at, zone) for each in page.items],
            "Size": [format.size(each.bytes) for each in page.items],
            "Why": [each.error or format.DASH for each in page.items],
        }
    )
    _save("set-aside", {"q": query})
    _more("aside", page.next, many)
    if session.may_run_campaigns() and st.button("Try these again", key="retry_aside"):
        done = session.client().replay_webhooks({"only_set_aside": True, "dry_run": False})
        st.toast(f"{format.count(done.bodies)} webhooks are being recorded again.")


def _orphans(zone: str) -> None:
    st.subheader("Messages Kairan did not send")
    st.caption(
        "A day after it came, a status belongs to no message here. Somebody else sends from your number, without the"
        " consent check. The number stops until you resume it, unless it is set to go on."
    )
    query, many = _asked("orphans")
    page = session.client().orphans(q=query, limit=many)
    _search("orphans", "Part of the message's id", shown=bool(page.items or query))
    if not page.items:
        st.info("Nothing matches." if query else "Every status belongs to a message that Kairan sent.")
        return
    controls.table(
        {
            "Received": [format.instant(each.received_at, zone) for each in page.items],
            "Status": [words.plain(each.status) for each in page.items],
            "Number id": [each.phone_number_id or format.DASH for each in page.items],
            "Message at WhatsApp": [each.wamid for each in page.items],
        }
    )
    _save("orphans", {"q": query})
    _more("orphans", page.next, many)


def _asked(part: str) -> tuple[str, int]:
    """What is searched for in a part of the page, and how many rows it shows."""
    query = str(st.session_state.get(f"{part}_search") or "").strip()
    return query, st.session_state.setdefault(f"{part}_many", PAGE)


def _search(part: str, placeholder: str, *, shown: bool) -> None:
    """The box to search in; a list with nothing in it has none."""
    if shown:
        st.text_input("Find", key=f"{part}_search", type="search", placeholder=placeholder)


def _more(part: str, following: str | None, many: int) -> None:
    if following and many < MOST and st.button("Show more", key=f"more_{part}"):
        st.session_state[f"{part}_many"] = min(MOST, many + 3 * PAGE)
        st.rerun()


def _save(what: str, filters: dict[str, str]) -> None:
    read = partial(session.client().webhooks_csv, what, **filters)
    controls.csv_button("Save as CSV", read, f"{what}.csv", key=f"{what}_csv")


def _fields(zone: str) -> None:
    st.subheader("What arrived")
    only_new = st.toggle("Only what Kairan does not know", value=True, key="only_unknown")
    query, _ = _asked("fields")
    fields = session.client().webhook_fields(unknown_only=only_new, q=query)
    _search("fields", "Part of the field's name", shown=bool(fields or query))
    if not fields and query:
        st.info("Nothing matches.")
        return
    if not fields:
        st.info("Kairan knows everything that arrived." if only_new else "Nothing has arrived yet.")
        return
    controls.table(
        {
            "Field": [field.name for field in fields],
            "Times": [format.count(field.count) for field in fields],
            "Known": ["yes" if field.known else "no, kept as it came" for field in fields],
            "First": [format.instant(field.first_at, zone) for field in fields],
            "Last": [format.instant(field.last_at, zone) for field in fields],
        }
    )
    _save("fields", {"q": query} | ({"known": "false"} if only_new else {}))


def _replay(zone: str) -> None:
    """Count first, then do: the second button names what it will do."""
    st.subheader("Record again")
    st.caption("For the days after a mistake was mended. What took effect before changes nothing.")
    today = datetime.now(ZoneInfo(zone)).date()
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    with left:
        picked = st.date_input("Days", (today, today), max_value=today, key="replay_days")
    if not isinstance(picked, tuple) or len(picked) != 2:
        st.caption("Choose the last day too.")
        return
    first, last = picked
    body = {"since": _start(first, zone), "until": _start(last + timedelta(days=1), zone)}
    with right:
        if st.button("Count them", key="count_replay"):
            st.session_state["replay"] = (body, session.client().replay_webhooks({**body, "dry_run": True}).bodies)
    asked, count = st.session_state.get("replay", (None, 0))
    if asked != body:
        return
    if not count:
        st.info("Nothing was received in these days.")
    elif st.button(
        f"Record {format.count(count)} webhook{'s' if count > 1 else ''} again", type="primary", key="do_replay"
    ):
        session.client().replay_webhooks({**body, "dry_run": False})
        del st.session_state["replay"]
        st.success("They are being recorded. The count of what waits goes down as it happens.")


def _start(day: date, zone: str) -> str:
    return datetime.combine(day, time(), ZoneInfo(zone)).isoformat()


def _top(zone: str) -> None:
    with session.guard("webhooks"):
        _tiles(session.client().webhook_overview(), zone)
        st.caption(f"As of {format.instant(datetime.now(UTC), zone)}")


st.title("Webhooks we receive")
zone = get_settings().time_zone
st.fragment(_top, run_every=5)(zone)
with session.guard("events"):
    _events(zone)
with session.guard("aside"):
    _aside(zone)
with session.guard("orphans"):
    _orphans(zone)
with session.guard("fields"):
    _fields(zone)
if session.may_run_campaigns():
    with session.guard("replay"):
        _replay(zone)
