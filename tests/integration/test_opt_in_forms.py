"""Opt-in forms, from the page over the chat to the ledger: only the code, sent from WhatsApp, subscribes."""

import asyncio
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest
from sqlalchemy import func, select, text

from core.clock import utc_now
from core.models import ConsentEvent, ConsentEvidence, Message, OptInRequest
from core.services import consents, forms, retention
from core.statuses import Role
from tests.factories import a_sender, an_import, consenting, csv_of
from tests.integration.stack import Stack
from tests.integration.test_erasure import WHY, Traces, finds
from tests.integration.test_keyword_answers import ANA, got, kinds, push_clock, state, writes

BOB = "+491701234599"
BROWSER = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}


@dataclass
class Page:
    """What a visitor sees, and can send."""

    answer: httpx.Response

    @property
    def html(self) -> str:
        return self.answer.text

    @property
    def boxes(self) -> dict[str, str]:
        """Purpose → id of the notice beside its box."""
        return dict(re.findall(r'name="notice\.([^"]+)" value="([^"]+)"', self.html))

    @property
    def link(self) -> str:
        return re.findall(r'class="open" href="([^"]+)"', self.html)[0]

    @property
    def words(self) -> str:
        """What the link asks people to send."""
        return parse_qs(urlsplit(self.link).query)["text"][0]


async def a_form(stack: Stack, **changes: Any) -> dict[str, Any]:
    senders = (await stack.client.get("/api/senders")).json()["items"]
    sender = senders[0] if senders else await a_sender(stack)
    compliance = await stack.sign_in(Role.COMPLIANCE)
    body = {
        "slug": "news",
        "name": "Newsletter",
        "sender_id": sender["id"],
        "offers": [{"purpose": "marketing", "notice": "default"}],
        "languages": ["en", "de", "ja"],
        **changes,
    }
    answer = await compliance.post("/api/forms", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def visitor(stack: Stack) -> httpx.AsyncClient:
    """Anybody: not signed in, with a browser."""
    return httpx.AsyncClient(transport=stack.client._transport, base_url=stack.client.base_url, headers=BROWSER)


async def opened(stack: Stack, slug: str = "news", **params: str) -> Page:
    return Page(await visitor(stack).get(f"/o/{slug}", params=params))


async def filled(
    stack: Stack, *, purposes: tuple[str, ...] = ("marketing",), number: str = "", lang: str = "en", slug: str = "news"
) -> Page:
    """The form opened, these boxes ticked, and sent."""
    page = await opened(stack, slug, lang=lang)
    fields = {f"notice.{purpose}": notice for purpose, notice in page.boxes.items()}
    data = {**fields, "purpose": list(purposes), "number": number}
    return Page(await visitor(stack).post(f"/o/{slug}", params={"lang": lang}, data=data))


async def figures(stack: Stack) -> dict[str, int]:
    (form,) = (await stack.client.get("/api/forms")).json()["items"]
    return {name: form[name] for name in ("shown", "requested", "confirmed", "refused")}


async def events(stack: Stack) -> list[tuple[str, str, str | None, str | None]]:
    """Type, purpose, grade and method of every event about a person, in order."""
    columns = (ConsentEvent.event_type, ConsentEvent.purpose, ConsentEvent.grade, ConsentEvent.method)
    async with stack.sessions() as session:
        found = await session.execute(
            select(*columns).where(ConsentEvent.subject_id.is_not(None)).order_by(ConsentEvent.seq)
        )
        return [(row[0], row[1], row[2], row[3]) for row in found]


async def refusal(stack: Stack) -> str | None:
    async with stack.sessions() as session:
        return await session.scalar(select(OptInRequest.refused_because))


async def test_a_stranger_who_sends_the_forms_code_is_subscribed_with_the_best_proof(stack: Stack) -> None:
    await a_form(stack)

    page = await filled(stack, lang="de")
    assert page.answer.status_code == 200
    assert urlsplit(page.link).netloc == "wa.me" and urlsplit(page.link).path == "/15550001111"
    assert "<svg" in page.html
    assert await state_of_nobody(stack)
    await push_clock(stack, 2)
    await writes(stack, page.words)

    assert (await state(stack))[0] == "subscribed"
    assert await events(stack) == [
        ("REQUESTED", "marketing", None, "web_form"),
        ("CONFIRMED", "marketing", "A", "wa_code"),
    ]
    (said,) = await got(stack)
    assert said == (
        "Danke, das ist bestätigt. Acme sendet dir: Angebote und Neuigkeiten."
        " Mit STOPP kannst du dich jederzeit abmelden."
    )
    assert await figures(stack) == {"shown": 1, "requested": 1, "confirmed": 1, "refused": 0}
    async with stack.sessions() as session:
        proofs = [str(payload) for payload in await session.scalars(select(ConsentEvidence.payload))]
        kept = (await session.scalars(select(OptInRequest))).one()
    assert any('"box_ticked":"Offers and news about our products"' in proof for proof in proofs)
    assert all("127.0.0.1" not in proof for proof in proofs)
    assert (kept.evidence, kept.number_ref) == ({}, None)
    assert unquote(page.link).rpartition(" ")[2] not in str(vars(kept))


async def state_of_nobody(stack: Stack) -> bool:
    """Whether the product knows no person, wrote to none and granted nothing."""
    async with stack.sessions() as session:
        people = await session.scalar(text("SELECT count(*) FROM contacts"))
        messages = await session.scalar(select(func.count()).select_from(Message))
    return (people, messages, await events(stack)) == (0, 0, [])


async def test_looking_at_a_form_changes_nothing(stack: Stack) -> None:
    await a_form(stack)
    before = await _fingerprint(stack)

    for params in ({}, {"lang": "ja"}, {"purpose": "marketing"}):
        assert (await opened(stack, **params)).answer.status_code == 200
    assert (await opened(stack, "nothing")).answer.status_code == 404

    assert await _fingerprint(stack) == before


async def _fingerprint(stack: Stack) -> dict[str, str]:
    """Of every table: what it holds."""
    async with stack.sessions() as session:
        tables = await session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        query = "SELECT coalesce(md5(string_agg(row::text, '|' ORDER BY row::text)), '') FROM {} AS row"
        return {table: str(await session.scalar(text(query.format(table)))) for table in tables.all()}


async def test_boxes_start_unticked_and_the_page_is_labelled_in_the_visitors_language(stack: Stack) -> None:
    await a_form(stack, asks_number=True)

    page = Page(await visitor(stack).get("/o/news", headers={"accept-language": "fr;q=0.9, ja;q=0.8, en;q=0"}))

    assert '<html lang="ja">' in page.html
    assert " checked" not in page.html and "<script" not in page.html
    inputs = re.findall(r'<input type="(?:checkbox|tel)" id="([^"]+)"', page.html)
    assert len(inputs) == 2 and all(f'for="{each}"' in page.html for each in inputs)
    assert '<html lang="de">' in (await opened(stack, lang="de")).html
    assert '<html lang="en">' in (await opened(stack, lang="xx")).html


async def test_only_the_sites_named_may_show_the_form_in_a_frame(stack: Stack) -> None:
    await a_form(stack, origins=["https://Shop.example/"])
    await a_form(stack, slug="closed")

    policy = (await opened(stack)).answer.headers["content-security-policy"]
    alone = (await opened(stack, "closed")).answer.headers

    assert "frame-ancestors https://shop.example" in policy and "script-src" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in alone["content-security-policy"] and alone["x-frame-options"] == "DENY"


async def test_what_a_visitor_left_out_or_mistyped_is_said_and_kept(stack: Stack) -> None:
    await a_form(stack, asks_number=True)

    nothing = await filled(stack, purposes=())
    mistyped = await filled(stack, number="12")

    assert nothing.answer.status_code == 422 and "tick at least one box" in nothing.html
    assert mistyped.answer.status_code == 422 and 'aria-invalid="true"' in mistyped.html
    assert " checked" in mistyped.html and 'value="12"' in mistyped.html
    assert (await figures(stack))["requested"] == 0


async def test_a_code_counts_once_and_the_second_time_adds_no_event(stack: Stack) -> None:
    await a_form(stack)
    page = await filled(stack)
    await push_clock(stack, 2)
    await writes(stack, page.words)
    once = await events(stack)

    await writes(stack, page.words)

    assert await events(stack) == once
    assert await kinds(stack) == ["form_confirmed", "already_in"]
    assert (await figures(stack))["confirmed"] == 1


async def test_a_code_somebody_else_used_subscribes_nobody_else(stack: Stack) -> None:
    await a_form(stack)
    page = await filled(stack)
    await push_clock(stack, 2)
    await writes(stack, page.words)

    await writes(stack, page.words, BOB)

    assert (await state(stack, phone=BOB))[0] == "pending"  # the notice with a button, as after START
    assert await refusal(stack) == "used"
    assert (await figures(stack))["confirmed"] == 1


async def test_two_people_who_send_one_code_at_once_and_only_one_is_subscribed(stack: Stack) -> None:
    await a_form(stack)
    page = await filled(stack)
    await push_clock(stack, 2)

    people = (ANA, BOB)
    await asyncio.gather(
        *(stack.steer("POST", "inbound", {"phone": phone, "kind": "text", "text": page.words}) for phone in people)
    )
    await stack.settle()

    states = sorted([(await state(stack, phone=phone))[0] for phone in people])
    assert states == ["pending", "subscribed"]
    assert (await figures(stack))["confirmed"] == 1


async def test_after_48_hours_a_code_only_brings_the_notice_again(stack: Stack) -> None:
    await a_form(stack)
    page = await filled(stack)
    async with stack.sessions.begin() as session:
        await session.execute(text("UPDATE opt_in_requests SET expires_at = now() - interval '1 second'"))
    await push_clock(stack, 2)

    await writes(stack, page.words)

    assert (await state(stack))[0] == "pending"
    assert await kinds(stack) == ["notice_offer"]
    assert await refusal(stack) == "expired"


async def test_a_code_from_another_number_than_the_one_typed_leaves_the_request_open(stack: Stack) -> None:
    await a_form(stack, asks_number=True)
    page = await filled(stack, number="0170 1234500")
    await push_clock(stack, 2)

    await writes(stack, page.words, BOB)
    assert (await state(stack, phone=BOB))[0] == "pending"
    assert await refusal(stack) == "other_number"
    await writes(stack, page.words, ANA)

    assert (await state(stack))[0] == "subscribed"
    assert (await state(stack, phone=BOB))[0] == "pending"


async def test_a_code_nobody_handed_out_is_refused_and_grants_nothing(stack: Stack) -> None:
    await a_form(stack)

    await writes(stack, "my code is ABCDE-FGHIJ-KLMNO-PQRST")

    assert await events(stack) == []
    assert await kinds(stack) == ["code_refused"]


async def test_a_stop_beside_the_code_is_a_stop(stack: Stack) -> None:
    await a_form(stack)
    page = await filled(stack)
    await push_clock(stack, 2)

    await writes(stack, f"STOP\n{page.words}")

    assert (await state(stack))[0] == "withdrawn"
    assert (await figures(stack))["confirmed"] == 0


async def test_a_notice_that_was_replaced_is_shown_again_and_its_codes_do_not_count(stack: Stack) -> None:
    await a_form(stack)
    page = await opened(stack)
    earlier = await filled(stack)
    async with stack.sessions.begin() as session:
        await consents.publish_notice(
            session,
            code="default",
            language="en",
            controller="Acme",
            purposes=["marketing"],
            text="I agree to Acme's new terms.",
            withdrawal_info="Reply STOP.",
            keyring=stack.parts.keyring,
            now=utc_now(),
        )
    await push_clock(stack, 2)

    old = {f"notice.{purpose}": notice for purpose, notice in page.boxes.items()}
    late = await visitor(stack).post("/o/news?lang=en", data={**old, "purpose": "marketing"})
    await writes(stack, earlier.words)

    assert late.status_code == 409 and "new terms" in late.text and " checked" not in late.text
    assert (await state(stack))[0] == "pending"
    assert await refusal(stack) == "replaced"


async def test_a_form_that_was_taken_down_is_gone_and_its_codes_with_it(stack: Stack) -> None:
    form = await a_form(stack)
    page = await filled(stack)
    compliance = await stack.sign_in(Role.COMPLIANCE)
    await compliance.patch(f"/api/forms/{form['id']}", json={"is_active": False})
    await push_clock(stack, 2)

    await writes(stack, page.words)

    assert (await opened(stack)).answer.status_code == 404
    assert (await filled(stack)).answer.status_code == 404
    assert (await state(stack))[0] == "pending"


async def test_typing_the_number_of_a_subscriber_or_of_somebody_who_stopped_changes_and_tells_nothing(
    stack: Stack,
) -> None:
    await a_form(stack, asks_number=True)
    await an_import(stack, csv_of([consenting(ANA), consenting(BOB)]))
    await writes(stack, "STOP", BOB)
    before, said = await events(stack), await got(stack, BOB)

    known, stopped, unknown = [await filled(stack, number=each) for each in (ANA, BOB, "+491701234511")]

    shapes = {_without_code(page) for page in (known, stopped, unknown)}
    assert len(shapes) == 1
    assert (await events(stack), await got(stack, BOB)) == (before, said)
    assert await got(stack, ANA) == []


def _without_code(page: Page) -> str:
    code = unquote(page.link).rpartition(" ")[2]
    picture = re.compile("<svg.*</svg>", re.DOTALL)
    return picture.sub("", page.html).replace(code, "CODE")


async def test_who_had_stopped_comes_back_with_the_code_and_the_suppression_is_lifted(stack: Stack) -> None:
    await a_form(stack)
    await an_import(stack, csv_of([consenting(ANA)]))
    await writes(stack, "STOP")
    page = await filled(stack)
    await push_clock(stack, 121)

    await writes(stack, page.words)

    assert (await state(stack))[0] == "subscribed"
    assert await kinds(stack) == ["stop_confirmed", "form_confirmed"]


async def test_every_box_is_its_own_consent(stack: Stack) -> None:
    async with stack.sessions.begin() as session:
        parts = {"keyring": stack.parts.keyring, "now": utc_now()}
        await consents.put_purpose(
            session,
            code="marketing.events",
            controller="Acme",
            description={"en": "Invitations"},
            min_grade="B",
            validity_days=365,
            needs_consent=True,
            **parts,
        )
        await consents.publish_notice(
            session,
            code="events",
            language="en",
            controller="Acme",
            purposes=["marketing.events"],
            text="I agree to invitations.",
            withdrawal_info="Reply STOP EVENTS.",
            **parts,
        )
    offers = [{"purpose": "marketing", "notice": "default"}, {"purpose": "marketing.events", "notice": "events"}]
    await a_form(stack, offers=offers)
    page = await filled(stack, purposes=("marketing.events",))
    await push_clock(stack, 2)

    await writes(stack, page.words)

    assert (await state(stack, "marketing.events"))[0] == "subscribed"
    assert (await state(stack))[0] == "none"
    (said,) = await got(stack)
    assert "Invitations" in said and "offers" not in said


async def test_one_address_cannot_fill_in_forms_without_end(stack: Stack) -> None:
    await a_form(stack)

    answers = [(await filled(stack)).answer for _ in range(31)]

    assert [answer.status_code for answer in answers] == [200] * 30 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert (await figures(stack))["requested"] == 30


async def test_erasing_somebody_parts_them_from_what_they_typed(stack: Stack) -> None:
    await a_form(stack, asks_number=True)
    unused = await filled(stack, number=ANA)
    page = await filled(stack, number=ANA)
    await push_clock(stack, 2)
    await writes(stack, page.words)
    (contact,) = (await stack.client.get("/api/contacts", params={"phone": ANA})).json()["items"]
    compliance = await stack.sign_in(Role.COMPLIANCE)

    done = await compliance.delete(f"/api/contacts/{contact['id']}", params=WHY)

    assert done.json()["erased"]["form_requests"] == 2, done.text
    assert await finds(stack, Traces.of(numbers=[ANA], words=[unused.words.rpartition(" ")[2]])) == []
    async with stack.sessions() as session:
        rows = list(await session.scalars(select(OptInRequest)))
    assert {(row.contact_id, row.number_ref, str(row.evidence)) for row in rows} == {(None, None, "{}")}


async def test_what_nobody_confirmed_is_forgotten_and_still_counted(stack: Stack) -> None:
    await a_form(stack, asks_number=True)
    await filled(stack, number=ANA)
    later = utc_now() + timedelta(days=2) + forms.KEEP_UNUSED

    async with stack.sessions.begin() as session:
        early = await retention.purge(session, settings=stack.settings, now=later - timedelta(minutes=1))
        done = await retention.purge(session, settings=stack.settings, now=later + timedelta(minutes=1))

    assert "form_requests" not in early
    assert done["form_requests"] == 1
    assert (await figures(stack))["requested"] == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"slug": "No Good"}, "slug"),
        ({"offers": [{"purpose": "service", "notice": "default"}]}, "offers"),
        ({"offers": [{"purpose": "marketing", "notice": "nothing"}]}, "offers"),
        ({"offers": [{"purpose": "marketing", "notice": "default"}] * 2}, "offers"),
        ({"languages": ["xx"]}, "languages"),
        ({"origins": ["http://shop.example"]}, "origins"),
        ({"origins": ["https://shop.example/path"]}, "origins"),
        ({"origins": ["https://shop.example; script-src *"]}, "origins"),
        ({"origins": ["https://[::1"]}, "origins"),
        ({"sender_id": "0190a000-0000-7000-8000-000000000000"}, "sender_id"),
    ],
)
async def test_a_form_that_could_not_work_is_refused_with_the_place(
    stack: Stack, changes: dict[str, Any], field: str
) -> None:
    sender = await a_sender(stack)
    compliance = await stack.sign_in(Role.COMPLIANCE)
    body = {
        "slug": "news",
        "name": "News",
        "sender_id": sender["id"],
        "offers": [{"purpose": "marketing", "notice": "default"}],
    }

    answer = await compliance.post("/api/forms", json={**body, **changes})

    assert answer.status_code == 422
    assert [wrong["field"] for wrong in answer.json()["errors"]] == [field]


async def test_marketers_read_forms_and_only_compliance_changes_them(stack: Stack) -> None:
    form = await a_form(stack)
    analyst = await stack.sign_in(Role.ANALYST)

    made = await stack.client.post(
        "/api/forms", json={"slug": "x", "name": "x", "sender_id": form["sender_id"], "offers": form["offers"]}
    )
    changed = await stack.client.patch(f"/api/forms/{form['id']}", json={"is_active": False})
    picture = await stack.client.get(f"/api/forms/{form['id']}/qr.svg")

    assert (made.status_code, changed.status_code) == (403, 403)
    assert (await analyst.get("/api/forms")).status_code == 403
    assert picture.headers["content-type"] == "image/svg+xml" and b"<svg" in picture.content
    assert (await stack.client.get("/api/forms", params={"q": "letter"})).json()["items"][0]["id"] == form["id"]
    assert (await stack.client.get("/api/forms", params={"q": "nothing"})).json()["items"] == []


async def test_two_forms_cannot_share_an_address_and_a_change_keeps_the_rest(stack: Stack) -> None:
    form = await a_form(stack, origins=["https://shop.example"])
    compliance = await stack.sign_in(Role.COMPLIANCE)
    body = {key: form[key] for key in ("slug", "name", "sender_id", "offers")}

    twice = await compliance.post("/api/forms", json=body)
    changed = await compliance.patch(f"/api/forms/{form['id']}", json={"name": "Better", "languages": ["fr"]})

    assert twice.status_code == 409
    assert changed.json() == {**form, "name": "Better", "languages": ["fr"]}
    log = (await compliance.get("/api/audit-log", params={"action": "form.*"})).json()["items"]
    assert [entry["action"] for entry in log] == ["form.changed", "form.created"]
