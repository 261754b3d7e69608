"""What follows from what the provider says about templates, numbers and the account: once, and never backwards."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from core.clock import utc_now
from core.models import AccountEvent, Contact, Template
from core.statuses import Role
from tests.factories import an_import, consenting, csv_of
from tests.integration.stack import Stack
from tests.integration.test_sending import PEOPLE, a_running_campaign
from tests.integration.test_webhooks import (
    a_sent_campaign,
    body,
    change,
    count,
    deliver,
    dump,
    said,
    status,
    stopped,
)
from worker import recording, sending

EXAMPLES = Path(__file__).parent.parent / "data" / "webhooks"
AT = 1_793_500_000


def example(name: str, *, at: int = AT, **value: Any) -> bytes:
    """A stored example, with members of its value replaced."""
    whole = json.loads((EXAMPLES / f"{name}.json").read_bytes())
    whole["entry"][0]["time"] = at
    whole["entry"][0]["changes"][0]["value"] |= value
    return json.dumps(whole).encode()


async def tell(stack: Stack, *bodies: bytes) -> list[str | None]:
    """The effects of what was told, in its order."""
    for each in bodies:
        assert (await deliver(stack, each)).status_code == 200
    await stack.work()
    async with stack.sessions() as session:
        return list(await session.scalars(select(AccountEvent.effect).order_by(AccountEvent.id)))[-len(bodies) :]


async def own_template(stack: Stack) -> dict[str, Any]:
    """How the provider names the campaign's template; its approval a moment ago is forgotten, for `AT` is earlier."""
    async with stack.sessions.begin() as session:
        await session.execute(text("DELETE FROM account_events"))
        template = (await session.scalars(select(Template))).one()
    assert template.provider_id is not None
    return {"message_template_id": int(template.provider_id), "message_template_name": template.name}


async def the_template(stack: Stack) -> Template:
    async with stack.sessions() as session:
        return (await session.scalars(select(Template))).one()


async def the_campaign(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = (await stack.client.get("/api/campaigns")).json()["items"][0]
    return found


async def the_sender(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = (await stack.client.get("/api/senders")).json()["items"][0]
    return found


async def change_sender(stack: Stack, **changes: Any) -> None:
    answer = await stack.client.patch(f"/api/senders/{(await the_sender(stack))['id']}", json=changes)
    assert answer.status_code == 200, answer.text


async def test_a_paused_template_stops_its_campaigns_and_its_approval_lets_them_go_on(stack: Stack) -> None:
    await a_running_campaign(stack)
    ours = await own_template(stack)

    (effect,) = await tell(stack, example("template_paused", at=AT + 1, **ours))
    assert effect == "The template is paused. 1 campaign paused."
    assert (await the_campaign(stack))["status"] == "paused"

    # An approval from before the pause comes late, twice, and changes nothing; one from after it does.
    late = example("template_approved", at=AT, **ours)
    assert (await tell(stack, late, late))[-1] == NOTHING_NEW
    assert await count(stack, "account_events") == 2
    assert (await the_campaign(stack))["status"] == "paused"
    (effect,) = await tell(stack, example("template_approved", at=AT + 2, **ours))
    assert effect == "The template is approved. 1 campaign resumed."
    assert (await the_campaign(stack))["status"] in GOES_ON


async def test_a_completed_campaign_is_stopped_by_nothing(stack: Stack) -> None:
    campaign = await a_running_campaign(stack, PEOPLE[:3])
    await sending.send_messages(stack.ctx, campaign["sender_id"])
    await stack.settle()
    ours = await own_template(stack)
    assert (await the_campaign(stack))["status"] == "completed"

    paused, edited = example("template_paused", at=AT + 1, **ours), example("template_components", at=AT + 2, **ours)
    effects = await tell(stack, paused, edited)
    by_hand = await stack.client.post(f"/api/campaigns/{campaign['id']}/pause", json={"reason": "why not"})

    assert effects == ["The template is paused.", "Version 2 was added."]
    assert (by_hand.status_code, by_hand.json()["detail"]) == (
        409,
        "everything has been sent already: there is nothing to pause",
    )
    assert (await the_campaign(stack))["status"] == "completed"


GOES_ON = ("sending", "completed")
NOTHING_NEW = "Nothing: something newer is known already."


@pytest.mark.parametrize("language", ["en", "EN"])
async def test_a_template_is_found_by_name_when_its_id_is_garbled(stack: Stack, language: str) -> None:
    await a_running_campaign(stack)
    told = example("template_quality", message_template_id=None, message_template_language=language)
    (effect,) = await tell(stack, told)
    known = language == "en"
    assert (await the_template(stack)).quality == ("RED" if known else None)
    assert (effect or "").startswith("The template's quality is RED" if known else "Nothing: this template is not")


async def test_en_us_in_either_spelling_is_one_language(stack: Stack) -> None:
    await a_running_campaign(stack)
    async with stack.sessions.begin() as session:
        await session.execute(text("UPDATE templates SET language = 'en_US'"))
    for place, spelled in enumerate(("en_US", "en-US")):
        quality = {"new_quality_score": ("YELLOW", "GREEN")[place]}
        named = {"message_template_id": "unknown", "message_template_language": spelled}
        await tell(stack, example("template_quality", at=AT + place, **named, **quality))
        assert (await the_template(stack)).quality == quality["new_quality_score"]


async def test_a_category_its_purpose_forbids_stops_the_template(stack: Stack) -> None:
    await a_running_campaign(stack)
    async with stack.sessions.begin() as session:
        await session.execute(text("UPDATE templates SET category = 'utility', purpose = 'transactional'"))
    ours = await own_template(stack)

    (announced,) = await tell(stack, example("template_category_announced", **ours))
    assert announced is None and (await the_template(stack)).category == "utility"
    (effect,) = await tell(stack, example("template_category_changed", at=AT + 1, **ours))

    assert "charges it as marketing" in str(effect) and "1 campaign paused" in str(effect)
    campaign = await the_campaign(stack)
    assert (campaign["status"], (await the_template(stack)).category) == ("paused", "marketing")
    refused = await stack.client.post(f"/api/campaigns/{campaign['id']}/resume")
    assert refused.status_code == 409 and "cancel the campaign" in refused.json()["detail"]
    # An approval of its content does not make it fit; taking the category back does.
    await tell(stack, example("template_approved", at=AT + 2, **ours))
    assert (await the_campaign(stack))["status"] == "paused"
    back = {"previous_category": "MARKETING", "new_category": "UTILITY"}
    await tell(stack, example("template_category_changed", at=AT + 3, **ours, **back))
    assert (await the_campaign(stack))["status"] in GOES_ON


async def test_a_template_edited_at_the_provider_gets_a_version_and_its_campaigns_wait(stack: Stack) -> None:
    await a_running_campaign(stack)
    ours = await own_template(stack)
    edited = example("template_components", **ours)

    (effect,) = await tell(stack, edited)
    assert effect == "Version 2 was added. 1 campaign paused."
    listed = (await stack.client.get("/api/templates")).json()["items"][0]["components"]
    texts = {part["type"]: part.get("text") for part in listed}
    assert texts["BODY"] == "Hello {{1}}, everything is {{2}} off until Monday."
    assert (texts["HEADER"], texts["FOOTER"]) == ("News", "Tea shop")
    # The same content once more is no new version, and an approval does not vouch for what nobody here has read.
    (again,) = await tell(stack, example("template_components", at=AT + 1, **ours))
    assert again == "Nothing: this is the content we have."
    await tell(stack, example("template_approved", at=AT + 2, **ours))
    assert (await the_campaign(stack))["status"] == "paused"


async def test_throughput_and_limits_become_the_numbers(stack: Stack) -> None:
    await a_running_campaign(stack)
    await tell(stack, example("number_upgrade"))
    assert (await the_sender(stack))["limit_tier"] == "TIER_10K"
    await tell(stack, example("capability_number"))
    assert (await the_sender(stack))["limit_tier"] == "TIER_2K"
    await tell(stack, example("number_throughput"))
    sender = await the_sender(stack)
    assert (sender["messages_per_second"], sender["limit_tier"]) == (1000, "TIER_2K")
    await tell(stack, example("number_name_approved"))
    assert (await the_sender(stack))["verified_name"] == "Tea & More"


async def test_a_pace_somebody_chose_below_the_default_stays(stack: Stack) -> None:
    await a_running_campaign(stack)
    await change_sender(stack, messages_per_second=20)
    (effect,) = await tell(stack, example("number_throughput"))
    assert (await the_sender(stack))["messages_per_second"] == 20 and "stays at the 20" in str(effect)


@pytest.mark.parametrize("pauses", [False, True])
async def test_a_flagged_number_stops_only_when_it_is_set_to(stack: Stack, pauses: bool) -> None:
    await a_running_campaign(stack)
    await change_sender(stack, pause_on_red=pauses)

    await tell(stack, example("number_flagged"))
    sender = await the_sender(stack)
    assert (sender["quality"], sender["paused_at"] is not None) == ("RED", pauses)
    assert sender["pause_code"] == ("quality:red" if pauses else None)
    await tell(stack, example("number_unflagged", at=AT + 1))
    sender = await the_sender(stack)
    assert (sender["quality"], sender["paused_at"]) == ("UNKNOWN", None)


async def test_a_number_somebody_paused_is_not_started_by_the_provider(stack: Stack) -> None:
    await a_running_campaign(stack)
    await change_sender(stack, pause_on_red=True)
    sender = await the_sender(stack)
    await stack.client.post(f"/api/senders/{sender['id']}/pause", json={"reason": "stocktaking"})
    await tell(stack, example("number_flagged"), example("number_unflagged", at=AT + 1))
    sender = await the_sender(stack)
    assert (sender["pause_reason"], sender["paused_at"] is not None) == ("Paused by Marketer: stocktaking", True)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("account_restriction", "account:restricted"),
        ("account_restriction_numbers", None),
        ("account_disabled", "account:disabled"),
        ("account_deleted", "account:disabled"),
        ("account_violation", None),
    ],
)
async def test_a_restricted_or_disabled_account_stops_all_its_numbers(
    stack: Stack, name: str, code: str | None
) -> None:
    campaign = await a_running_campaign(stack)
    await tell(stack, example(name))
    sender = await the_sender(stack)
    assert (sender["pause_code"], sender["paused_at"] is not None) == (code, code is not None)
    await sending.send_messages(stack.ctx, campaign["sender_id"])
    assert (await count(stack, "messages", "status = 'queued'") == len(PEOPLE)) is (code is not None)
    await tell(stack, example("account_reinstated", at=AT + 5))
    assert (await the_sender(stack))["pause_code"] == ("account:restricted" if "restricted" in str(code) else None)


async def test_events_are_listed_by_severity_and_by_words(stack: Stack) -> None:
    await tell(stack, example("alert"), example("account_violation"), example("security"), example("review"))

    async def listed(**asked: Any) -> list[str]:
        answer = await stack.client.get("/api/webhooks/account-events", params=asked)
        return [event["word"] for event in answer.json()["items"]]

    assert await listed(severity="critical") == ["account_violation"]
    assert await listed(q="PIN_reset") == ["pin_reset_request"]
    assert len(await listed()) == 4
    first = (await stack.client.get("/api/webhooks/account-events", params={"limit": 3})).json()
    rest = await stack.client.get("/api/webhooks/account-events", params={"limit": 3, "cursor": first["next"]})
    assert (len(first["items"]), len(rest.json()["items"])) == (3, 1)


async def test_a_replay_of_everything_changes_nothing(stack: Stack) -> None:
    ((message_id, wamid), *_) = await a_sent_campaign(stack)
    ours = await own_template(stack)
    bodies = [
        example("template_paused", at=AT, **ours),
        example("template_approved", at=AT + 1, **ours),
        example("template_components", at=AT + 2, **ours),
        example("number_flagged"),
        example("account_disabled"),
        example("account_reinstated", at=AT + 9),
        body(change(statuses=[status(wamid, "read", biz_opaque_callback_data=message_id)])),
        body(change(statuses=[status("wamid.nobody", "read")])),
        body(change(messages=[said("STOP", PEOPLE[1]), said("thanks", PEOPLE[2])])),
        (EXAMPLES / "inbound_system_number_changed.json").read_bytes(),
        (EXAMPLES / "new_field.json").read_bytes(),
    ]
    await tell(stack, *bodies)
    before = await everything(stack)

    asked = {"since": "2026-01-01T00:00:00Z", "until": "2100-01-01T00:00:00+01:00"}
    dry = (await stack.client.post("/api/webhooks/replay", json=asked)).json()
    assert dry == {"bodies": len(bodies), "dry_run": True} and stack.bells.waiting == []
    for _ in range(2):
        done = (await stack.client.post("/api/webhooks/replay", json={**asked, "dry_run": False})).json()
        assert done == {"bodies": len(bodies), "dry_run": False}
        assert await count(stack, "webhook_events", "status = 'waiting'") == len(bodies)
        await stack.work()
        assert await everything(stack) == before


async def everything(stack: Stack) -> dict[str, list[str]]:
    async with stack.sessions() as session:
        more = {
            name: sorted(row[0] for row in await session.execute(text(f"SELECT t::text FROM {name} t")))
            for name in ("account_events", "senders", "campaigns", "template_versions", "webhook_fields")
        }
    return await dump(stack) | more


async def test_a_replay_needs_to_know_what_and_takes_what_was_set_aside(stack: Stack) -> None:
    async def replay(**asked: Any) -> tuple[int, Any]:
        answer = await stack.client.post("/api/webhooks/replay", json={"dry_run": False, **asked})
        return answer.status_code, answer.json()

    assert (await replay())[0] == 422
    assert (await replay(since="2026-11-22T08:00:00Z", until="2026-11-22T08:00:00Z"))[0] == 422
    assert (await replay(since="2026-11-22T08:00:00"))[0] == 400  # of which zone?
    await deliver(stack, b'{"object":"whatsapp')
    await deliver(stack, body(change("brand_new_field")))
    await stack.work()

    listed = (await stack.client.get("/api/webhooks/set-aside")).json()["items"]
    assert len(listed) == 1 and "not understood" in listed[0]["error"]
    overview = (await stack.client.get("/api/webhooks")).json()
    assert (overview["set_aside"], overview["waiting"], overview["unknown_fields"]) == (1, 0, 1)
    assert (await replay(only_set_aside=True)) == (200, {"bodies": 1, "dry_run": False})
    await stack.work()
    assert await count(stack, "webhook_events", "status = 'set_aside'") == 1
    status, problem = await replay(ids=[listed[0]["id"], 10**9])
    assert (status, problem["detail"]) == (404, "no such webhook: 1000000000")
    assert (await replay(ids=[listed[0]["id"]]))[1]["bodies"] == 1


async def test_a_raw_body_is_read_by_compliance_only_and_that_is_written_down(stack: Stack) -> None:
    await deliver(stack, b"\xff not json")
    officer = await stack.sign_in(Role.COMPLIANCE)
    async with stack.sessions() as session:
        webhook_id = await session.scalar(text("SELECT id FROM webhook_events"))

    answer = (await officer.get(f"/api/webhooks/events/{webhook_id}")).json()

    assert (answer["body_base64"], answer["bytes"]) == ("/yBub3QganNvbg==", 10)
    assert await count(stack, "audit_log", "action = 'webhook.read'") == 1
    assert (await officer.get(f"/api/webhooks/events/{2**63}")).status_code in (400, 404)


@pytest.mark.parametrize("pauses", [True, False])
async def test_a_status_nothing_matches_for_a_day_is_an_orphan_and_an_alert(stack: Stack, pauses: bool) -> None:
    await a_running_campaign(stack)
    await change_sender(stack, pause_on_orphans=pauses)
    await deliver(stack, body(change(statuses=[status("wamid.nobody", word) for word in ("sent", "read")])))
    await stack.work()
    await recording.raise_orphans(stack.ctx)
    assert (await stack.client.get("/api/webhooks/orphans")).json()["items"] == []

    async with stack.sessions.begin() as session:
        await session.execute(text("UPDATE parked_statuses SET created_at = :then"), {"then": utc_now() - DAY})
    for _ in range(2):  # alerted once
        await recording.raise_orphans(stack.ctx)

    listed = (await stack.client.get("/api/webhooks/orphans")).json()["items"]
    assert {(orphan["wamid"], orphan["status"]) for orphan in listed} == {
        ("wamid.nobody", "sent"),
        ("wamid.nobody", "read"),
    }
    (alert,) = (await stack.client.get("/api/webhooks/account-events", params={"severity": "critical"})).json()["items"]
    assert (alert["kind"], alert["value"]["count"]) == ("orphans", 1)
    assert await count(stack, "consent_events", "event_type = 'INTEGRITY_ALERT'") == 1
    sender = await the_sender(stack)
    assert (sender["pause_code"], sender["paused_at"] is not None) == ("integrity:orphans" if pauses else None, pauses)


DAY = timedelta(days=1, minutes=1)


async def test_an_id_that_is_not_ours_is_asked_by_the_providers(stack: Stack) -> None:
    ((_, wamid), *_) = await a_sent_campaign(stack)
    foreign = "01890a5d-ac96-774b-bcce-b302099a8057"
    await deliver(stack, body(change(statuses=[status(wamid, "read", biz_opaque_callback_data=foreign)])))
    await stack.work()
    assert await count(stack, "messages", "status = 'read'") == 1
    assert await count(stack, "parked_statuses") == 0


NEW = "+4917012345699"


async def test_who_changes_number_starts_anew_and_takes_what_they_forbade_along(stack: Stack) -> None:
    await an_import(stack, csv_of([consenting("+4917012345600"), consenting("+4917012345611")]))
    ben = body(change(messages=[said("STOP", "+4917012345611")]))
    await deliver(stack, ben)
    moved = json.loads((EXAMPLES / "inbound_system_number_changed.json").read_bytes())
    for old, new, at in (("4917012345600", NEW[1:], 1), ("4917012345611", "4917012345622", 2)):
        message = moved["entry"][0]["changes"][0]["value"]["messages"][0]
        message |= {"from": old, "id": f"wamid.MOVE{at}"}
        message.pop("from_user_id", None)
        message["system"] = {"type": "user_changed_number", "wa_id": new}
        for _ in range(2):
            await deliver(stack, json.dumps(moved).encode())
            await stack.work()

    assert not await stopped(stack, NEW) and await stopped(stack, "+4917012345622")
    assert await count(stack, "inbound_messages") == 1
    async with stack.sessions() as session:
        ended = list(await session.scalars(select(Contact.id).where(Contact.closed_at.is_not(None))))
    assert len(ended) == 2
    preview = (await stack.client.post("/api/audiences/preview", json={"rule": {"all": []}})).json()
    assert (preview["size"], preview["reachable"]) == (2, 0)  # nobody's consent moves with them
    # Somebody else has the old number now: nothing of the first holder's is theirs.
    await deliver(stack, body(change(messages=[said("hello", "+4917012345600")])))
    await stack.work()
    await deliver(stack, json.dumps(moved).replace("4917012345611", "4917012345600").encode())
    await stack.work()
    assert await count(stack, "contacts", "closed_at IS NOT NULL") == 2


async def test_the_simulators_account_life_reaches_the_numbers(stack: Stack) -> None:
    campaign = await a_running_campaign(stack)
    await change_sender(stack, pause_on_red=True)

    await stack.steer("POST", "numbers/200000000000002", {"action": "upgrade_throughput"})
    await stack.settle()
    assert (await the_sender(stack))["messages_per_second"] == 1000
    await stack.steer("POST", "numbers/200000000000002", {"action": "flag"})
    await stack.settle()
    assert (await the_sender(stack))["pause_code"] == "quality:red"
    await stack.steer("POST", "numbers/200000000000002", {"action": "unflag"})
    await stack.settle()
    assert (await the_sender(stack))["paused_at"] is None
    await stack.steer("POST", "accounts/100000000000001", {"action": "disable"})
    await stack.settle()
    assert (await the_sender(stack))["pause_code"] == "account:disabled"
    await stack.steer("POST", "accounts/100000000000001", {"action": "reinstate"})
    await sending.send_messages(stack.ctx, campaign["sender_id"])
    await stack.settle()
    assert (await the_sender(stack))["paused_at"] is None
    await stack.steer("POST", "accounts/100000000000001", {"action": "capability", "tier": "TIER_100K"})
    await stack.settle()
    assert (await the_sender(stack))["limit_tier"] == "TIER_100K"
