"""Everything the provider can say, one stored example each, and what is understood of it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.statuses import AccountEventKind as Kind
from core.statuses import EventKind, Severity
from core.whatsapp import account_events as told
from core.whatsapp.webhooks import Parsed, parse

EXAMPLES = Path(__file__).parent.parent / "data" / "webhooks"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
INFO, WARNING, CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL
EVERY = sorted(path.stem for path in EXAMPLES.glob("*.json"))


def example(name: str) -> Parsed:
    return parse((EXAMPLES / f"{name}.json").read_bytes(), received_at=NOW)


# name → (type, words, payload, quoted)
QUOTED = "wamid.SIM0000000000000001"
INBOUND: dict[str, tuple[str, str | None, str | None, str | None]] = {
    "text": ("text", "Is this still on?", None, None),
    "text_hidden_number": ("text", "Hello", None, None),
    "button": ("button", "Stop promotions", "optout:marketing", QUOTED),
    "button_reply": ("interactive", "Yes, please", "yes", QUOTED),
    "list_reply": ("interactive", "Green tea", "green", QUOTED),
    "flow_reply": ("interactive", None, None, QUOTED),
    "image": ("image", "STOP", None, None),
    "video": ("video", None, None, None),
    "audio": ("audio", None, None, None),
    "document": ("document", None, None, None),
    "sticker": ("sticker", None, None, None),
    "location": ("location", None, None, None),
    "contacts": ("contacts", None, None, None),
    "reaction": ("reaction", None, None, None),
    "reaction_removed": ("reaction", None, None, None),
    "order": ("order", None, None, None),
    "unsupported": ("unsupported", None, None, None),
    "edit": ("edit", "STOP", None, None),
    "revoke": ("revoke", None, None, None),
    "referral": ("text", "I saw your ad", None, None),
}


@pytest.mark.parametrize("name", INBOUND)
def test_what_people_write_tap_and_send(name: str) -> None:
    parsed = example(f"inbound_{name}")

    (said,) = parsed.inbound
    assert (said.type, said.words, said.payload_id, said.context_wamid) == INBOUND[name]
    assert (said.user_id, said.phone_number_id, said.profile_name) == ("DE.9a8b7c6d5e", "200000000000002", "Ana")
    assert said.wa_id == (None if name == "text_hidden_number" else "4917012345600")
    assert parsed.fields == {(f"messages/{said.type}", True): 1}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("number_changed", ("4917012345600", "DE.9a8b7c6d5e"), ("4917012345699", "DE.77aa88bb99")),
        ("user_id_changed", ("4917012345600", "DE.9a8b7c6d5e"), (None, "DE.77aa88bb99")),
    ],
)
def test_a_changed_account_is_a_move_and_not_something_said(name: str, old: tuple[str, str], new: Any) -> None:
    parsed = example(f"inbound_system_{name}")

    (move,) = parsed.moves
    assert ((move.old_wa_id, move.old_user_id), (move.new_wa_id, move.new_user_id)) == (old, new)
    assert parsed.inbound == []


def test_a_reinstalled_app_is_known_and_changes_nothing() -> None:
    parsed = example("inbound_system_identity_changed")
    assert (parsed.moves, parsed.inbound) == ([], [])
    assert parsed.fields == {("messages/system/customer_identity_changed", True): 1}


STATUSES = {
    "sent": ("regular", "marketing", None),
    "delivered": ("regular", "marketing", None),  # said as marketing_lite
    "read": (None, None, None),
    "played": (None, None, None),
    "failed": (None, None, 131049),
}


@pytest.mark.parametrize("word", STATUSES)
def test_statuses(word: str) -> None:
    (report,) = example(f"status_{word}").reports
    assert report.kind is EventKind(word)
    assert (report.pricing_type, report.pricing_category, report.error_code) == STATUSES[word]
    assert str(report.message_id) == "01890a5d-ac96-774b-bcce-b302099a8057"
    assert (report.wamid, report.phone_number_id) == ("wamid.SIM0000000000000001", "200000000000002")


@pytest.mark.parametrize("word", ["stop", "resume", "signup"])
def test_choices_inside_the_app(word: str) -> None:
    parsed = example(f"preference_{word}")
    assert [chosen.value for chosen in parsed.preferences] == [word]
    assert parsed.fields == {(f"user_preferences/marketing_messages/{word}", True): 1}


ACCOUNT: dict[str, tuple[Kind, str, Severity, str]] = {
    "template_approved": (Kind.TEMPLATE_STATUS, "approved", INFO, "spring_offer en"),
    "template_rejected": (Kind.TEMPLATE_STATUS, "rejected", CRITICAL, "spring_offer en"),
    "template_paused": (Kind.TEMPLATE_STATUS, "paused", WARNING, "spring_offer en"),
    "template_disabled": (Kind.TEMPLATE_STATUS, "disabled", CRITICAL, "spring_offer en"),
    "template_quality": (Kind.TEMPLATE_QUALITY, "red", CRITICAL, "spring_offer en"),
    "template_quality_under_status": (Kind.TEMPLATE_QUALITY, "red", CRITICAL, "spring_offer en"),
    "template_category_announced": (Kind.TEMPLATE_CATEGORY_NOTICE, "marketing", WARNING, "spring_offer en"),
    "template_category_changed": (Kind.TEMPLATE_CATEGORY, "marketing", INFO, "spring_offer en"),
    "template_components": (Kind.TEMPLATE_CONTENT, "edited", WARNING, "spring_offer en"),
    "number_throughput": (Kind.NUMBER_LIMIT, "throughput_upgrade", INFO, "15550001111"),
    "number_upgrade": (Kind.NUMBER_LIMIT, "upgrade", INFO, "15550001111"),
    "number_flagged": (Kind.NUMBER_LIMIT, "flagged", WARNING, "15550001111"),
    "number_unflagged": (Kind.NUMBER_LIMIT, "unflagged", INFO, "15550001111"),
    "number_name_approved": (Kind.NUMBER_NAME, "approved", INFO, "15550001111"),
    "number_name_rejected": (Kind.NUMBER_NAME, "rejected", CRITICAL, "15550001111"),
    "number_username": (Kind.NUMBER_NAME, "approved", INFO, "15550001111"),
    "capability_tier": (Kind.CAPABILITY, "limits", INFO, "100000000000001"),
    "capability_number": (Kind.CAPABILITY, "limits", INFO, "100000000000001"),
    "alert": (Kind.ALERT, "increased_capabilities_eligibility_deferred", WARNING, "500000000000005"),
    "review": (Kind.REVIEW, "approved", INFO, "100000000000001"),
    "security": (Kind.SECURITY, "pin_reset_request", WARNING, "15550001111"),
    "account_violation": (Kind.ACCOUNT, "account_violation", CRITICAL, "100000000000001"),
    "account_restriction": (Kind.ACCOUNT, "account_restriction", CRITICAL, "100000000000001"),
    "account_restriction_numbers": (Kind.ACCOUNT, "account_restriction", CRITICAL, "100000000000001"),
    "account_disabled": (Kind.ACCOUNT, "disabled_update", CRITICAL, "100000000000001"),
    "account_reinstated": (Kind.ACCOUNT, "disabled_update", INFO, "100000000000001"),
    "account_deleted": (Kind.ACCOUNT, "account_deleted", CRITICAL, "100000000000001"),
    "account_partner_removed": (Kind.ACCOUNT, "partner_removed", CRITICAL, "100000000000001"),
    "account_volume_tier": (Kind.ACCOUNT, "volume_based_pricing_tier_update", INFO, "100000000000001"),
}


@pytest.mark.parametrize("name", ACCOUNT)
def test_what_is_said_about_templates_numbers_and_the_account(name: str) -> None:
    parsed = example(name)

    (event,) = parsed.account
    assert (event.kind, event.word, event.severity, event.subject) == ACCOUNT[name]
    assert event.account == "100000000000001"
    assert event.occurred_at < NOW and event.value
    assert all(known for _, known in parsed.fields)
    assert event.key == example(name).account[0].key


@pytest.mark.parametrize("name", ["template_paused", "template_quality", "number_flagged", "review", "security"])
def test_a_word_that_is_new_is_listed_as_unknown_and_for_somebody_to_look_at(name: str) -> None:
    whole = json.loads((EXAMPLES / f"{name}.json").read_bytes())
    change = whole["entry"][0]["changes"][0]
    word = next(key for key in ("new_quality_score", "decision", "event") if key in change["value"])
    change["value"][word] = "VANISHED"

    parsed = parse(json.dumps(whole).encode(), received_at=NOW)

    assert parsed.account[0].severity is WARNING
    assert [(key.rpartition("/")[2], known) for key, known in parsed.fields] == [("vanished", False)]


def test_limits_are_words_or_numbers() -> None:
    found = {name: told.limit_tier(example(name).account[0]) for name in ACCOUNT if "number" in name or "cap" in name}
    assert found["capability_tier"] == found["number_upgrade"] == "TIER_10K"
    assert (found["capability_number"], found["number_throughput"]) == ("TIER_2K", "TIER_UNLIMITED")
    assert found["number_name_approved"] is None


def test_of_two_events_about_one_thing_the_aspect_is_the_same() -> None:
    aspects = {name: example(name).account[0].aspect for name in ACCOUNT}
    assert aspects["template_paused"] == aspects["template_approved"]
    assert aspects["template_quality"] == aspects["template_quality_under_status"]
    assert aspects["number_flagged"] == aspects["number_unflagged"] != aspects["number_upgrade"]
    assert aspects["account_disabled"] == aspects["account_reinstated"] != aspects["account_restriction"]
    assert aspects["template_category_announced"] != aspects["template_category_changed"]


# What is counted and nothing more: known and left alone, or new.
COUNTED = {
    "user_action_click": ("user_actions/marketing_messages_link_click", True),
    "app_error": ("messages/error/131031", True),
    "echo": ("smb_message_echoes", True),
    "history": ("history", True),
    "app_state": ("smb_app_state_sync", True),
    "new_field": ("group_lifecycle_update", False),
}


@pytest.mark.parametrize("name", COUNTED)
def test_what_is_counted_only(name: str) -> None:
    parsed = example(name)
    assert parsed.fields == {COUNTED[name]: 1}
    assert not (parsed.inbound or parsed.reports or parsed.preferences or parsed.account or parsed.moves)


def test_no_example_is_without_a_test() -> None:
    named = {f"inbound_{name}" for name in INBOUND} | {f"status_{word}" for word in STATUSES} | set(ACCOUNT)
    named |= {f"inbound_system_{name}" for name in ("number_changed", "user_id_changed", "identity_changed")}
    named |= {f"preference_{word}" for word in ("stop", "resume", "signup")} | set(COUNTED)
    assert set(EVERY) == named


@pytest.mark.parametrize("name", EVERY)
def test_members_nobody_knows_yet_hide_nothing(name: str) -> None:
    whole = json.loads((EXAMPLES / f"{name}.json").read_bytes())

    def grown(part: Any) -> Any:
        if isinstance(part, dict):
            return {"brand_new": {"deep": [1]}, **{key: grown(value) for key, value in part.items()}}
        return [grown(each) for each in part] if isinstance(part, list) else part

    plain, parsed = example(name), parse(json.dumps(grown(whole)).encode(), received_at=NOW)
    assert parsed.fields == plain.fields
    assert parsed.reports == plain.reports
    assert [said.words for said in parsed.inbound] == [said.words for said in plain.inbound]
    assert [event.word for event in parsed.account] == [event.word for event in plain.account]
