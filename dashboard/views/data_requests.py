"""Who asked about their data, and until when must we answer?"""

from datetime import UTC, datetime, timedelta

import streamlit as st

from core.settings import get_settings
from core.statuses import RequestKind
from dashboard import controls, format, markup, session, words
from dashboard.people_payloads import DataRequest, Stub

SHORTEST_REASON = 5

CHANNELS = {
    "email": "E-mail",
    "whatsapp": "WhatsApp",
    "letter": "Letter",
    "phone": "Phone",
    "in_person": "In person",
    "form": "Form",
}
KINDS = {
    RequestKind.ACCESS: "A copy of everything",
    RequestKind.PORTABILITY: "Their own data, to take along",
    RequestKind.ERASURE: "To be erased",
    RequestKind.OBJECTION: "No more marketing (objection)",
    RequestKind.RECTIFICATION: "A correction",
    RequestKind.RESTRICTION: "To leave the data alone for now",
}
NEXT = {
    "access": "Open the person under Contacts, tab Data rights, and hand the copy over.",
    "portability": "Open the person under Contacts, tab Data rights, and hand the file over.",
    "erasure": "Open the person under Contacts, tab Data rights. The erasure keeps a certificate in the ledger.",
    "objection": "Open the person under Contacts, tab Consent, and record an opt-out; no proof of identity is needed.",
    "rectification": "Open the person under Contacts, tab Details.",
    "restriction": "Open the person under Contacts, tab Consent, and place a hold; nothing is sent while it stands.",
}


def _left(request: DataRequest, now: datetime) -> str:
    days = (request.due_at - now) / timedelta(days=1)
    if days < 0:
        return f"{format.duration(-days * 86400)} late"
    return f"{format.duration(days * 86400)} left"


def _open_request(request: DataRequest, zone: str, now: datetime) -> None:
    with st.container(border=True, key=f"request_{request.id}"):
        title = KINDS.get(RequestKind(request.kind), words.plain(request.kind))
        number = request.phone_masked or "no number"
        st.markdown(f"**{title}** &nbsp; {markup.markdown_text(number)}")
        said = (
            f"Came {format.instant(request.received_at, zone)} by {CHANNELS.get(request.channel, request.channel)}; "
            f"answer by {format.instant(request.due_at, zone)}: {_left(request, now)}."
        )
        (st.error if request.overdue else st.caption)(said)
        if request.note:
            st.caption(markup.markdown_text(request.note))
        proof = request.identity_proof
        st.caption(markup.markdown_text(f"Identity: {proof}" if proof else "Nobody has checked who they are yet."))
        st.caption(f"{NEXT.get(request.kind, '')} Contact id: `{request.contact_id}`")
        controls.contact_link(request.contact_id)
        _answers(request)


def _answers(request: DataRequest) -> None:
    with st.container(horizontal=True):
        if not request.identity_proof:
            controls.ask_reason(
                "Identity is proven",
                key=f"prove_{request.id}",
                act=lambda how: _send(request, "proof", identity_proof=how),
                help_text="How did they prove who they are? For example: a code sent back from their account.",
            )
        controls.ask_reason(
            "Answered",
            key=f"done_{request.id}",
            act=lambda outcome: _send(request, "close", status="done", outcome=outcome),
            help_text="What was done, and how the person was told?",
            primary=True,
        )
        controls.ask_reason(
            "Refuse",
            key=f"refuse_{request.id}",
            act=lambda outcome: _send(request, "close", status="refused", outcome=outcome),
            help_text="Why, in the words the person was told?",
        )
        controls.ask_reason(
            "Two months more",
            key=f"extend_{request.id}",
            act=lambda why: _send(request, "extend", reason=why),
            help_text="Possible once. The person must be told why.",
        )


def _send(request: DataRequest, action: str, **body: object) -> None:
    session.oversight().answer_request(request.id, action, body)


def _new() -> None:
    with st.form("new_request", clear_on_submit=True):
        person = (st.text_input("Number or contact id", key="request_person") or "").strip()
        left, right = st.columns(2)
        with left:
            kind = st.selectbox("They want", list(RequestKind), format_func=KINDS.__getitem__, key="request_kind")
            day = st.date_input("Came on", "today", max_value="today", key="request_day")
        with right:
            channel = st.selectbox("By", list(CHANNELS), format_func=CHANNELS.__getitem__, key="request_channel")
            proof = (st.text_input("Identity proven by (may follow)", key="request_proof") or "").strip()
        note = (st.text_input("Note, without names or numbers", key="request_note", max_chars=500) or "").strip()
        pressed = st.form_submit_button("Take it in", type="primary", key="request_button")
    if not pressed:
        return
    found = session.oversight().contacts(person).items if person else []
    if len(found) != 1:
        st.warning("Exactly one person must fit the number or id.")
        return
    start = datetime.combine(day, datetime.min.time(), UTC) if day else datetime.now(UTC)
    session.oversight().open_request(
        {
            "contact_id": found[0].id,
            "kind": str(kind),
            "received_at": min(start, datetime.now(UTC)).isoformat(),
            "channel": channel,
            "identity_proof": proof or None,
            "note": note or None,
        },
        controls.once_key("request"),
    )
    controls.done_with("request")
    st.rerun()


def _outcome(request: DataRequest, zone: str) -> str:
    facts = request.facts
    said = [request.outcome] if request.outcome else []
    said += [f"erased, record {facts.seq} of the ledger"] if facts.seq is not None else []
    if facts.held:
        said.append(f"consent evidence kept sealed until {format.instant(facts.held.until, zone)}: {facts.held.rule}")
    return "; ".join(said) or format.DASH


def _closed(requests: list[DataRequest], zone: str) -> None:
    controls.table(
        {
            "Closed": [format.instant(each.closed_at, zone) for each in requests],
            "What": [KINDS.get(RequestKind(each.kind), each.kind) for each in requests],
            "Person": [each.phone_masked or "erased" for each in requests],
            "How": [words.plain(each.status) for each in requests],
            "Outcome": [_outcome(each, zone) for each in requests],
        }
    )


def _erased(zone: str) -> None:
    """Somebody who was erased complains: what is left of them, by the number they state."""
    with st.form("erased", border=False):
        left, right = st.columns(2)
        with left:
            number = (st.text_input("Number they state", key="erased_phone", type="phone") or "").strip()
        with right:
            reason = (st.text_input("Why you look", key="erased_reason", max_chars=300) or "").strip()
        pressed = st.form_submit_button("Was this person erased?", key="erased_button")
    if not pressed:
        return
    if not number or len(reason) < SHORTEST_REASON:
        st.warning("Give the number with its country prefix, and say in a few words why you look: it is kept.")
        return
    stubs = session.oversight().erased(number, reason)
    if not stubs:
        st.info("No: nobody with this number was erased here.")
    for stub in stubs:
        _stub(stub, zone)


def _stub(stub: Stub, zone: str) -> None:
    why = "they asked" if stub.reason == "erasure" else "its time was over"
    with st.container(border=True):
        st.success(f"Yes: erased on {format.instant(stub.erased_at, zone)}, because {why}.")
        if stub.cause:
            st.caption(f"Reference of the request: `{stub.cause}`")
        if stub.held:
            until = format.instant(stub.held.until, zone)
            st.info(f"Their consent evidence and addresses are kept sealed until {until}: {stub.held.rule}.")
        st.markdown("**What the ledger has sealed**")
        if not stub.events:
            st.caption("Nothing: the database was restored from a backup of before they came.")
        else:
            controls.table(
                {
                    "When": [format.instant(datetime.fromisoformat(str(e["occurred_at"])), zone) for e in stub.events],
                    "What happened": [words.plain(str(each["event_type"]).lower()) for each in stub.events],
                    "Purpose": [words.purpose(str(each.get("purpose", ""))) for each in stub.events],
                    "How": [words.method(_text(each.get("method"))) for each in stub.events],
                    "Where": [_text(each.get("collection_point")) or format.DASH for each in stub.events],
                    "Grade": [_text(each.get("grade")) or format.DASH for each in stub.events],
                    "Record": [str(each["seq"]) for each in stub.events],
                }
            )
        st.markdown("**What they were sent**")
        if not stub.messages:
            st.caption("Nothing.")
            return
        controls.table(
            {
                "When": [format.instant(each.permitted_at, zone) for each in stub.messages],
                "Purpose": [words.purpose(each.purpose) for each in stub.messages],
                "Allowed by record": [str(each.permit_seq or format.DASH) for each in stub.messages],
                "Then": [words.plain(each.status) for each in stub.messages],
            }
        )
        st.caption("No word of what was said or sent is left: erasure took it.")


def _text(value: object) -> str | None:
    return None if value is None else str(value)


st.title("Requests")
st.caption("What people ask about their data, each with the day by which the law wants an answer.")
zone, now = get_settings().time_zone, datetime.now(UTC)
everything = session.oversight().data_requests()
waiting = sorted((each for each in everything if each.status == "open"), key=lambda each: each.due_at)
if not waiting:
    st.info("No request is open.")
for request in waiting:
    with session.guard(f"request_{request.id}"):
        _open_request(request, zone, now)
st.subheader("A new request")
with session.guard("new_request"):
    _new()
if answered := [each for each in everything if each.status != "open"]:
    st.subheader("Answered")
    _closed(answered, zone)
st.subheader("Somebody who was erased complains")
st.caption(
    "What is left of them, found by the number they state: when they agreed, what was sent on it, when they went."
)
with session.guard("erased"):
    _erased(zone)
