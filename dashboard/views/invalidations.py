"""A notice, a file or a place where people agreed turned out bad: whose consents does that end?"""

import streamlit as st

from core.settings import get_settings
from core.statuses import Role
from dashboard import audit_form, controls, format, markup, session, words
from dashboard.oversight_payloads import Invalidation, InvalidationPreview

OFFICERS = frozenset({Role.COMPLIANCE, Role.ADMIN})  # an auditor reads what was done
KINDS = ("notice", "import", "collection_point")
CONFIRMATION = "invalid"
REACHED = {
    "in_force": "Agreed because of it: become invalid",
    "waiting": "Were asked, and have not confirmed: become invalid",
    "expired": "Agreed because of it, and that is over: become invalid",
    "elsewhere": "Agreed elsewhere too, and that is in force: stay as they are",
    "ended": "Opted out, or it never counted: stay as they are",
}
BECAME = {
    "invalid": "Became invalid",
    "kept": "Stay, by a later act of their own or another consent in force",
    "ended": "Nothing was left to end, such as after an opt-out",
}


def _targets(kind: str) -> dict[str, str]:
    """What can be chosen, by its id."""
    zone = get_settings().time_zone
    if kind == "notice":
        return {
            each.id: f"{each.code}, {each.language}, version {each.version}"
            + (" · found defective" if each.invalid_at else " · ended" if each.effective_to else " · in force")
            for each in session.oversight().notices()
        }
    return {
        each.id: f"{each.filename} · {format.instant(each.created_at, zone)}"
        for each in session.client().imports()
        if not each.dry_run
    }


def _choose() -> tuple[str, str]:
    """Kind and target; a link from a notice or an import chooses both (`?notice=`, `?import=`)."""
    linked = next((kind for kind in KINDS if kind in st.query_params), KINDS[0])
    kind = st.segmented_control(
        "What turned out bad",
        KINDS,
        default=linked,
        format_func=words.INVALIDATED.__getitem__,
        key="bad_kind",
        required=True,
        width="content",
    )
    if kind == "collection_point":
        point = st.text_input(
            "Where they agreed", key="bad_point", max_chars=500, help="To the letter, as the consent records say it."
        )
        st.caption("Take the form or list out of use first: whoever agrees there afterwards counts again.")
        return kind, point or ""
    named = _targets(str(kind))
    asked = st.query_params.get(str(kind))
    target = st.selectbox(
        words.INVALIDATED[str(kind)],
        list(named),
        index=list(named).index(asked) if asked in named else None,
        format_func=lambda one: named.get(one, one),
        placeholder="Choose one",
        key=f"bad_{kind}",
    )
    return str(kind), str(target or "")


def _ask() -> None:
    kind, target = _choose()
    looked: InvalidationPreview | None = st.session_state.get("invalidation_preview")
    if st.button("Show whom it reaches", key="invalidation_look", disabled=not target):
        st.session_state["invalidation_preview"] = looked = None
        with st.spinner("Counting…"):
            st.session_state["invalidation_preview"] = looked = session.oversight().invalidation_preview(kind, target)
    if looked is None or (looked.kind, looked.target) != (kind, target):
        return
    with st.container(border=True, key="invalidation_reach"):
        _reach(looked)
        _confirm(looked)


def _reach(looked: InvalidationPreview) -> None:
    left, right, _ = controls.cells(3, min_width=200)
    left.metric("People it touches", format.count(looked.people))
    right.metric("Messages in the queue that end", format.count(looked.messages))
    numbers = {name: getattr(looked, name) for name in REACHED}
    controls.table(
        {"What becomes of them": list(REACHED.values()), "People": [format.count(each) for each in numbers.values()]}
    )
    if looked.kind == "notice":
        st.caption("From then on forms and chats show this notice to nobody: publish its next version soon.")
    if looked.kind == "import":
        st.caption("A file that is still being read is ended. Opt-outs it brought stay.")


def _confirm(looked: InvalidationPreview) -> None:
    reason = (
        st.text_input(
            "Reason",
            key="invalidation_reason",
            max_chars=300,
            placeholder="The printed form named another company",
            help="It is kept with the action and in the log of who did what.",
        )
        or ""
    ).strip()
    typed = (st.text_input(f"Type *{CONFIRMATION}* to confirm", key="invalidation_typed", max_chars=20) or "").strip()
    st.caption("There is no way back: only the people themselves can agree again. Nothing is sent on it from then on.")
    ready = len(reason) >= audit_form.SHORTEST_REASON and typed.lower() == CONFIRMATION
    if st.button("Make them invalid", key="invalidation_do", type="primary", disabled=not ready):
        key = controls.once_key("invalidation")
        asked = session.oversight().invalidate(looked.kind, looked.target, reason, key)
        controls.done_with("invalidation")
        del st.session_state["invalidation_preview"]
        st.session_state["invalidation_shown"] = asked.id
        st.rerun()


def _title(asked: Invalidation) -> str:
    return f"{words.INVALIDATED[asked.kind]}: {asked.name or asked.target}"


def _progress(invalidation_id: str, zone: str) -> None:
    with session.guard("invalidation"):
        asked = session.oversight().invalidation(invalidation_id)
        with st.container(border=True, key="invalidation_progress"):
            st.markdown(f"**{markup.markdown_text(_title(asked))}**")
            if asked.status == "done":
                _result(asked, zone)
            else:
                _under_way(asked)
        if asked.status != st.session_state.get("invalidation_status"):
            st.session_state["invalidation_status"] = asked.status  # starts and stops the clock
            st.rerun()


def _under_way(asked: Invalidation) -> None:
    if asked.people is None:
        st.progress(0.0, "Nothing is sent on these consents any more. Looking for the people…")
    elif asked.people_done < asked.people:
        said = f"{format.count(asked.people_done)} of {format.count(asked.people)} people done"
        st.progress(asked.people_done / asked.people, f"Nothing is sent on these consents any more. {said}")
    else:
        st.progress(1.0, "Waiting for what was being recorded when it was asked for…")


def _result(asked: Invalidation, zone: str) -> None:
    numbers = {name: getattr(asked, name) for name in BECAME}
    st.success(
        f"Done {format.instant(asked.finished_at, zone)}. {format.count(asked.invalid)} of "
        f"{format.count(asked.people or 0)} people may not be messaged on it any more; "
        f"{format.count(asked.messages)} queued messages were skipped."
    )
    controls.table(
        {"What became of them": list(BECAME.values()), "People": [format.count(each) for each in numbers.values()]}
    )
    if asked.besides:
        st.caption(
            f"{format.count(asked.besides)} of the invalid had been recorded from elsewhere too, which had no effect "
            "beside this consent: you may ask them again."
        )


def _earlier(zone: str) -> None:
    st.subheader("Earlier")
    cursors: list[str] = st.session_state.setdefault("invalidation_cursors", [""])
    page = session.oversight().invalidations(cursor=cursors[-1])
    if not page.items:
        st.caption("No consents have been made invalid so far.")
    else:
        controls.table(
            {
                "When": [format.instant(each.created_at, zone) for each in page.items],
                "What": [_title(each) for each in page.items],
                "Why": [each.reason for each in page.items],
                "Who": [each.asked_by or "A program" for each in page.items],
                "People": [format.DASH if each.people is None else format.count(each.people) for each in page.items],
                "Became invalid": [format.count(each.invalid) for each in page.items],
                "Messages ended": [format.count(each.messages) for each in page.items],
                "State": [words.WORK.get(each.status, words.plain(each.status)) for each in page.items],
            }
        )
    controls.pager(page.next, cursors, key="invalidations")


st.title("Invalid consents")
st.caption(
    "When a notice turns out defective, a file was forged or bought, or a form or shop collected consents wrongly, "
    "every consent that rests on it ends in one action. Who opted out stays opted out."
)
zone = get_settings().time_zone
if session.role() in OFFICERS:
    with session.guard("ask"):
        _ask()
shown = st.session_state.get("invalidation_shown")
if shown:
    running = st.session_state.get("invalidation_status") != "done"
    st.fragment(_progress, run_every=1 if running else None)(shown, zone)
with session.guard("earlier"):
    _earlier(zone)
