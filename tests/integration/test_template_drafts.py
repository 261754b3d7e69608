"""Template drafts, the cards prices came from, and names in the log of who did what."""

from io import BytesIO

from core.statuses import Role
from tests.factories import OFFER, a_sender
from tests.integration.stack import Stack


async def test_a_draft_is_kept_submitted_once_and_then_no_draft_any_more(stack: Stack) -> None:
    sender = await a_sender(stack)
    body = {"sender_id": sender["id"], "name": "spring", "language": "en", "components": OFFER, "draft": True}
    draft = (await stack.client.post("/api/templates", json=body)).json()
    assert draft["status"] == "draft"
    assert (await stack.client.post("/api/templates/sync", json={"sender_id": sender["id"]})).json()["created"] == 0

    submitted = await stack.client.post(f"/api/templates/{draft['id']}/submit", json={})
    assert submitted.json()["status"] == "pending", submitted.text
    await stack.settle()

    assert (await stack.client.get(f"/api/templates/{draft['id']}")).json()["status"] == "approved"
    again = await stack.client.post(f"/api/templates/{draft['id']}/submit", json={})
    assert (again.status_code, "no draft" in again.json()["detail"]) == (409, True)
    assert (await stack.client.delete(f"/api/templates/{draft['id']}")).status_code == 409


async def test_a_draft_is_checked_and_can_be_discarded(stack: Stack) -> None:
    sender = await a_sender(stack)
    body = {"sender_id": sender["id"], "name": "Spring!", "language": "en", "components": OFFER, "draft": True}
    assert (await stack.client.post("/api/templates", json=body)).status_code == 422
    draft = (await stack.client.post("/api/templates", json={**body, "name": "spring"})).json()

    assert (await stack.client.delete(f"/api/templates/{draft['id']}")).status_code == 204

    assert (await stack.client.get("/api/templates")).json()["items"] == []
    assert (await stack.client.delete(f"/api/templates/{draft['id']}")).status_code == 404


async def test_cards_say_since_when_they_hold_and_which_are_made_up(stack: Stack) -> None:
    header = "market,category,currency,price,effective_from\n"
    for name, rows in (
        ("demo data: prices", "DE,marketing,USD,0.11,2026-01-01\nFR,marketing,USD,0.1,2026-01-01\n"),
        ("card.csv", "DE,marketing,USD,0.12,2026-10-01\nDE,utility,USD,0.05,2026-10-01\n"),
    ):
        file = {"file": (name, BytesIO((header + rows).encode()), "text/csv")}
        assert (await stack.client.post("/api/rates", files=file)).status_code == 201

    cards = (await stack.client.get("/api/rates/cards")).json()["items"]

    told = [
        (card["source"], card["effective_from"], card["markets"], card["prices"], card["is_demo"]) for card in cards
    ]
    assert told == [("card.csv", "2026-10-01", 1, 2, False), ("demo data: prices", "2026-01-01", 2, 2, True)]


async def test_the_log_says_what_things_are_called(stack: Stack) -> None:
    sender = await a_sender(stack)
    await stack.client.post(f"/api/senders/{sender['id']}/pause", json={"reason": "holiday"})
    compliance = await stack.sign_in(Role.COMPLIANCE)

    entries = (await compliance.get("/api/audit-log")).json()["items"]

    named = {entry["action"]: entry["object_name"] for entry in reversed(entries)}  # the newest of each kind
    assert (named["sender.paused"], named["session.opened"]) == ("Demo Store", "Compliance")
