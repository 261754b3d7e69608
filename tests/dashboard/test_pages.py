"""Every page, with data and without, as the roles see it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from uuid import UUID

import httpx
import pytest
from streamlit.testing.v1 import AppTest

from core.settings import get_settings
from core.statuses import Role
from dashboard.api_client import ApiClient
from tests.analytics import golden
from tests.dashboard.conftest import CAREFUL, DRAFT, LAUNCHED, Visit, said


@contextmanager
def client_of(at: AppTest) -> Iterator[ApiClient]:
    """The API as whoever opened the page."""
    with httpx.Client(base_url=get_settings().own_api_url) as http:
        yield ApiClient(http, at.session_state["session_token"])


def test_the_overview_shows_rates_with_their_denominators(dashboard: Visit) -> None:
    at = dashboard(Role.ANALYST, "overview")

    at.segmented_control(key="period").set_value("Own dates").run()
    at.date_input(key="own_dates").set_value((date(2026, 10, 1), date(2026, 10, 5))).run()

    assert not at.exception
    tiles = {tile.label: tile.value for tile in at.metric}
    assert (tiles["Delivered"], tiles["Read rate"], tiles["Opt-out rate"]) == ("8", "75.0 %", "12.5 %")
    assert tiles["Net revenue"] == "160.00 USD"
    assert "6 / 8 delivered" in said(at)
    assert "75.0&nbsp;%" not in said(at)  # the table shows campaigns, not the whole
    assert "80.0 %</span>" in said(at) and "(4 / 5 delivered)" in said(at)


def test_an_empty_period_says_what_to_do_next(dashboard: Visit) -> None:
    at = dashboard(Role.ANALYST, "overview")

    at.segmented_control(key="period").set_value("Own dates").run()
    at.date_input(key="own_dates").set_value((date(2026, 9, 1), date(2026, 9, 5))).run()

    assert not at.exception
    assert not at.metric
    assert "Choose a longer one, or launch a campaign" in at.info[0].value


def test_campaigns_are_listed_with_status_and_balance_and_found_by_name(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "campaigns")
    assert "C1" in said(at) and "Winter" in said(at) and "10 people" in said(at)

    at.text_input(key="campaign_search").set_value("winter").run()

    assert "C1" not in said(at)
    assert "No recipients yet" in said(at)


def test_a_search_without_a_hit_says_so(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "campaigns")

    at.text_input(key="campaign_search").set_value("nothing like it").run()

    assert "No campaign matches" in at.info[0].value


def test_an_analyst_looks_and_does_not_change(dashboard: Visit) -> None:
    at = dashboard(Role.ANALYST, "campaigns")
    assert "You may look, not change." in said(at)
    assert "new_campaign" not in [button.key for button in at.button]

    at = dashboard(Role.ANALYST, "live", campaign=golden.an_id("C1"))

    assert {button.key for button in at.button} == {"sign_out"}


def test_the_eleven_statuses_add_up_to_the_audience(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "live", campaign=golden.an_id("C1"))

    table = next(element for element in at.get("html") if "Audience" in element.body and "Cancelled" in element.body)
    numbers = [int(n.replace(",", "")) for n in re.findall(r">([\d,]+)</span>", table.body)]
    assert len(numbers) == 12
    assert sum(numbers[:-1]) == numbers[-1] == 10


def test_pausing_is_one_click_and_so_is_going_on(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "live", campaign=golden.an_id("C1"))

    at.button(key="pause").click().run()
    paused = said(at)
    at.button(key="go_on_0").click().run()

    assert not at.exception
    assert "**The campaign stands still**" in paused
    assert "Paused by Some marketer" in paused
    assert "Resume when you wish" in paused
    assert "stands still" not in said(at)
    assert "pause" in [button.key for button in at.button]


def test_a_paused_number_is_let_go_on_from_the_campaign_it_stops(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "live", campaign=CAREFUL)
    sender = str(golden.an_id("sender"))
    with client_of(at) as client:
        client._send("POST", f"/api/senders/{sender}/pause", body={"reason": "too many complaints"})  # no page does

        at.run()
        stopped = said(at)
        at.button(key="go_on_0").click().run()

        assert "**The number stands still**" in stopped and "too many complaints" in stopped
        assert "stands still" not in said(at)
        assert next(one for one in client.senders() if one.id == sender).paused_at is None


def test_the_first_few_people_and_the_verdict_are_shown(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "live", campaign=CAREFUL)

    tiles = {tile.label: tile.value for tile in at.metric}
    assert (tiles["Delivered"], tiles["Read"]) == ("66.7 %", "33.3 %")
    assert "**5 people wait for your verdict.**" in said(at)
    assert {"canary_go", "canary_stop"} <= {button.key for button in at.button}

    looking = dashboard(Role.ANALYST, "live", campaign=CAREFUL)
    assert "canary_go" not in [button.key for button in looking.button]


def test_messages_without_an_answer_are_listed_and_given_up_by_age(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "live", campaign=CAREFUL)
    assert "no answer came back" in said(at)

    at.number_input(key="settle_minutes").set_value(300).run()
    assert "None of them is older than 300 minutes." in said(at)
    at.number_input(key="settle_minutes").set_value(60).run()
    at.button(key="settle").click().run()

    assert not at.exception
    assert "Sent, but no answer came" not in said(at)
    assert "1 / 3 messaged" in said(at)


def test_a_draft_is_changed_where_it_was_made(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "new_campaign", campaign=DRAFT)
    assert at.title[0].value == "Change the draft"
    assert at.text_input(key="name").value == "Winter <b>preview</b>"
    assert "friend" in [field.value for field in at.text_input]
    with client_of(at) as client:
        before = client.campaign(str(DRAFT)).variants[0].parameters

    at.toggle(key="canary").set_value(True).run()
    at.number_input(key="canary_people").set_value(7).run()
    at.button(key="save").click().run()

    assert not at.exception
    with client_of(at) as client:
        changed = client.campaign(str(DRAFT))
    assert changed.canary is not None and changed.canary.people == 7
    assert (changed.name, changed.variants[0].parameters) == ("Winter <b>preview</b>", before)


def test_a_draft_is_discarded(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "new_campaign")
    at.text_input(key="name").set_value("Not needed").run()
    at.button(key="save").click().run()
    with client_of(at) as client:
        made = client.campaigns(q="Not needed").items[0]

    at = dashboard(Role.MARKETER, "new_campaign", campaign=UUID(made.id))
    at.button(key="discard").click().run()

    assert not at.exception
    with client_of(at) as client:
        assert client.campaigns(q="Not needed").items == []


def test_the_results_carry_denominators_and_intervals(dashboard: Visit) -> None:
    at = dashboard(Role.ANALYST, "results", campaign=golden.an_id("C1"))

    tiles = {tile.label: tile.value for tile in at.metric}
    assert tiles["Read rate"] == "80.0 %"
    assert "4 / 5 delivered" in said(at)
    assert "43.9–100.0&nbsp;%" in said(at)  # Wilson for 3 of 3, variant A
    assert "2 people were held out" in said(at)


def test_a_campaign_is_reviewed_before_it_can_be_launched(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "review", campaign=DRAFT)

    assert "Winter \\<b\\>preview" in said(at)
    assert "Nobody in the audience can be reached" in said(at)
    assert at.button(key="open_launch").disabled


def test_a_new_campaign_says_what_is_missing_and_then_saves(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "new_campaign")
    assert "Still needed: a name" in said(at)
    assert at.button(key="save").disabled

    at.text_input(key="name").set_value("Written by a test").run()
    assert not at.button(key="save").disabled
    at.button(key="save").click().run()

    assert not at.exception
    assert at.title[0].value == "Review", said(at)
    assert "Written by a test" in said(at)


def test_an_import_shows_verdicts_that_add_up(dashboard: Visit) -> None:
    at = dashboard(Role.COMPLIANCE, "imports")
    assert "phone" not in said(at).split("Earlier imports")[0]  # only marketers upload

    files = at.selectbox(key="earlier").options
    at.selectbox(key="earlier").select_index(next(i for i, file in enumerate(files) if "friends.csv" in file)).run()

    assert not at.exception
    assert "The verdicts add up to the file: 10 of 10 rows." in said(at)
    assert "12 is no phone number" in said(at)


def test_audiences_are_listed_and_a_rule_is_counted_when_asked(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "audiences")
    assert "Nobody yet" in said(at)
    assert "Fill in a condition" in at.info[0].value

    typed = next(field for field in at.text_input if field.placeholder == "DE, AT")
    at.text_input(key=typed.key).set_value("de, at").run()

    assert not at.exception
    assert "People who: country is one of de or at" in said(at)
    assert "by the database's guess; quick to count" in said(at)
    assert not at.metric, "nothing is counted before somebody asks"
    at.button(key="count_rule").click().run()
    assert not at.exception
    assert "People" in [tile.label for tile in at.metric]


def test_a_rule_with_nested_groups_is_built_saved_edited_and_deleted(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "audiences")
    root = next(button.key for button in at.button if str(button.key).startswith("add_group_"))
    at.button(key=root).click().run()
    kinds = [box.key for box in at.selectbox if str(box.key).startswith("kind_")]
    assert len(kinds) == 2
    at.selectbox(key=kinds[0]).set_value("did").run()
    at.selectbox(key=kinds[1]).set_value("tag").run()
    typed = next(field for field in at.text_input if field.placeholder == "vip, press")
    at.text_input(key=typed.key).set_value("vip").run()

    assert not at.exception
    assert "clicked a link in the last 90 days and has the tag vip" in said(at)
    at.text_input(key="audience_name_").set_value("Fans")
    at.button(key="save_audience_button").click().run()
    assert not at.exception and not at.error, [each.value for each in at.error]
    assert "Fans" in said(at)

    fans = next(option for option in at.selectbox(key="closer").options if option == "Fans")
    at.selectbox(key="closer").select(fans).run()
    assert "It is not counted yet" in said(at)
    at.button(key="edit_rule").click().run()
    assert not at.exception and "Edit Fans" in said(at)
    assert "clicked a link in the last 90 days and has the tag vip" in said(at)
    at.button(key="leave_rule").click().run()
    at.selectbox(key="closer").select(fans).run()
    at.button(key="delete_audience").click().run()
    assert not at.exception and "Fans" not in said(at)


def test_a_contact_is_found_looked_at_edited_and_erased(dashboard: Visit) -> None:
    at = dashboard(Role.COMPLIANCE, "contacts")
    assert not at.exception and "Person" in [box.label for box in at.selectbox]
    box = next(box for box in at.selectbox if box.label == "Person")
    box.select_index(0).run()
    assert not at.exception
    assert {"Messages", "Clicks", "Orders", "Net revenue"} <= {tile.label for tile in at.metric}
    assert "Prepared (" in said(at)

    at.text_input(key="edit_name").set_value("Renamed <b>Person</b>")
    at.text_input(key="edit_country").set_value("XYZ")
    at.button(key="save_contact").click().run()
    assert "country" in at.error[0].value.lower()
    at.text_input(key="edit_country").set_value("AT")
    at.button(key="save_contact").click().run()
    assert not at.exception and "Renamed" in said(at) and "<b>Person" not in said(at).replace("&lt;", "")

    at.text_input(key="rights_reason").set_value("asked by letter").run()
    at.button(key="rehearse").click().run()
    assert "Goes for good" in said(at) and not at.error
    at.checkbox(key="erase_sure").set_value(True).run()
    assert not at.exception


def test_compliance_records_an_opt_out_and_places_and_lifts_a_hold(dashboard: Visit) -> None:
    at = dashboard(Role.COMPLIANCE, "contacts")
    next(box for box in at.selectbox if box.label == "Person").select_index(2).run()

    for is_held in (True, False):
        at.text_input(key="hold_reason").set_value("asked by letter")
        at.button(key="hold").click().run()
        assert not at.exception and not at.error, [each.value for each in at.error]
        labels = [str(each.label) for each in at.button]
        assert ("Lift the hold" in labels, "Place a hold" in labels) == (is_held, not is_held)
    at.text_input(key="opt_out_reason").set_value("asked on the phone")
    at.button(key="opt_out").click().run()

    assert not at.exception and not at.error
    assert "Withdrawn" in said(at)


def test_a_search_for_nobody_says_so_and_marketers_do_not_erase(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "contacts")
    at.text_input(key="contact_search").set_value("nobody like that").run()
    assert "Nobody fits" in at.info[0].value

    at.text_input(key="contact_search").set_value("").run()
    next(box for box in at.selectbox if box.label == "Person").select_index(1).run()
    assert not at.exception
    assert "rights_reason" not in [field.key for field in at.text_input]


def test_compliance_sees_the_ledger_and_asks_for_a_package(dashboard: Visit) -> None:
    at = dashboard(Role.COMPLIANCE, "compliance")
    assert "Records in the ledger" in [tile.label for tile in at.metric]
    assert "Asked by the authority" not in said(at)

    at.text_input(key="audit_reason").set_value("Asked by the authority")
    at.button(key="audit_button").click().run()

    assert not at.exception
    assert "Asked by the authority" in said(at)


def test_a_package_is_limited_to_what_its_form_says(dashboard: Visit) -> None:
    at = dashboard(Role.COMPLIANCE, "consent_figures")
    chosen = at.selectbox(key="proof_campaign").value
    at = dashboard(Role.COMPLIANCE, "compliance", campaign=UUID(chosen))  # as the proof links to it
    assert at.selectbox(key="audit_campaign").value == chosen

    at.text_input(key="audit_reason").set_value("Proof for counsel")
    at.selectbox(key="audit_grade").select("C")
    at.number_input(key="audit_as_of").set_value(1)
    at.button(key="audit_button").click().run()

    assert not at.exception and not at.error
    (package,) = [each for each in said(at).replace("\\", "").splitlines() if "as of record: 1" in each]
    assert "grade of proof: C" in package and "campaign: " in package


def test_compliance_sees_how_consent_stands_and_the_proof_of_a_campaign(dashboard: Visit) -> None:
    at = dashboard(Role.COMPLIANCE, "consent_figures")

    assert not at.exception
    assert "Proof of a campaign" in said(at)
    assert "What must be zero" in said(at)


def test_a_request_is_taken_in_and_answered_after_proof(dashboard: Visit) -> None:
    at = dashboard(Role.COMPLIANCE, "data_requests")
    assert "No request is open" in said(at)

    at.text_input(key="request_person").set_value(str(golden.an_id("K12")))
    at.button(key="request_button").click().run()
    assert not at.exception and "left." in said(at)
    done = next(button.key for button in at.button if str(button.key).startswith("done_"))
    at.text_input(key=f"{done}_reason").set_value("sent by letter")
    at.button(key=done).click().run()
    assert "proved" in at.error[0].value or "who they are" in at.error[0].value
    at.text_input(key=f"{done.replace('done', 'prove')}_reason").set_value("a code sent back")
    at.button(key=done.replace("done", "prove")).click().run()
    at.text_input(key=f"{done}_reason").set_value("sent by letter")
    at.button(key=done).click().run()

    assert not at.exception
    assert "No request is open" in said(at) and "sent by letter" in said(at)


def test_a_notice_is_proposed_and_waits_for_a_second_person(dashboard: Visit) -> None:
    at = dashboard(Role.COMPLIANCE, "registry")
    assert "Marketing" in said(at)
    for key, value in (
        ("notice_code", "events"),
        ("notice_language", "en"),
        ("notice_brand", "Acme"),
        ("notice_text", "I agree to invitations."),
        ("notice_end", "Reply STOP."),
    ):
        field = at.text_area(key=key) if key == "notice_text" else at.text_input(key=key)
        field.set_value(value)
    at.multiselect(key="notice_purposes").set_value(["marketing"])
    at.button(key="notice_button").click().run()

    assert not at.exception and not at.error, [each.value for each in at.error]
    assert "Waiting for a second person" in said(at) and "somebody else has to publish it" in said(at)
    other = dashboard(Role.ADMIN, "registry")
    publish = next(button.key for button in other.button if str(button.key).startswith("publish_"))
    other.button(key=publish).click().run()
    assert not other.exception and not other.error
    assert "I agree to invitations." in "".join(element.value for element in other.get("text"))


def test_a_package_of_many_people_waits_for_a_second_person(dashboard: Visit) -> None:
    reader = dashboard(Role.AUDITOR, "compliance")
    assert "somebody else has to approve it" in said(reader)
    at = dashboard(Role.COMPLIANCE, "compliance")
    approve = next(str(each.key) for each in at.button if str(each.key).startswith("approve_"))

    at.button(key=approve).click().run()

    assert not at.exception and not at.error
    assert not [each.key for each in at.button if str(each.key).startswith("approve_")]


def test_the_log_tells_who_did_what(dashboard: Visit) -> None:
    at = dashboard(Role.AUDITOR, "audit_log")
    assert "Session opened" in said(at)

    at.selectbox(key="log_kind").set_value("retention.*").run()
    assert "Nothing of this kind is on record" in said(at)


def test_an_unknown_number_is_said_to_be_unknown(dashboard: Visit) -> None:
    at = dashboard(Role.COMPLIANCE, "compliance")

    at.text_input(key="find_phone").set_value("+491701234567")
    at.button(key="find_button").click().run()

    assert "Nobody with this number is on file" in said(at)


def test_what_proves_a_record_is_shown_for_a_reason_and_what_it_says_is_no_markup(dashboard: Visit) -> None:
    at = dashboard(Role.COMPLIANCE, "compliance")
    phone = "+4915199900011"
    with client_of(at) as client:
        note = "said so <b>on the phone</b>"
        client._send(
            "POST",
            "/api/consents",
            body={
                "action": "opt_out",
                "phone": phone,
                "source_record_id": "letter-1",
                "occurred_at": "2026-10-01T09:00:00Z",
                "method": "staff",
                "evidence": {"operator_note": note},
            },
        )

    at.text_input(key="find_phone").set_value(phone)
    at.button(key="find_button").click().run()
    assert "Withdrawn" in said(at) and "on the phone" not in said(at)

    at.text_input(key="evidence_reason").set_value("a complaint")
    at.button(key="evidence").click().run()

    assert not at.exception and not at.error
    assert "Operator note" in said(at) and "said so &lt;b&gt;on the phone" in said(at)


def test_an_auditor_finds_packages_but_not_people(dashboard: Visit) -> None:
    at = dashboard(Role.AUDITOR, "compliance")

    assert not at.error
    assert "find_phone" not in [field.key for field in at.text_input]
    assert "audit_button" not in [button.key for button in at.button]


@pytest.mark.parametrize(
    ("role", "page", "sentence"),
    [
        (Role.ANALYST, "overview", "Choose a longer one, or launch a campaign"),
        (Role.MARKETER, "campaigns", "There is no campaign yet"),
        (Role.MARKETER, "live", "No campaign has been launched yet"),
        (Role.ANALYST, "results", "No campaign has been launched yet"),
        (Role.MARKETER, "new_campaign", "There is no audience yet"),
        (Role.MARKETER, "review", "Choose a campaign to review"),
        (Role.MARKETER, "audiences", "There is no audience yet"),
        (Role.MARKETER, "contacts", "Nobody fits"),
        (Role.COMPLIANCE, "compliance", "No package has been made yet"),
        (Role.MARKETER, "imports", "Nothing has been imported yet"),
        (Role.AUDITOR, "compliance", "No package has been made yet"),
        (Role.COMPLIANCE, "webhooks", "Nothing yet. Pauses, limits and warnings will be listed here."),
        (Role.AUDITOR, "compliance", "has not been checked as a whole yet"),
        (Role.COMPLIANCE, "consent_figures", "Nothing is recorded yet"),
        (Role.COMPLIANCE, "data_requests", "No request is open"),
    ],
)
def test_a_page_without_anything_to_show_says_what_to_do(
    new_dashboard: Visit, role: Role, page: str, sentence: str
) -> None:
    at = new_dashboard(role, page)

    assert not at.error
    assert sentence in said(at)


def test_a_campaign_without_rows_is_said_to_be_prepared(dashboard: Visit) -> None:
    live = dashboard(Role.MARKETER, "live", campaign=LAUNCHED)
    results = dashboard(Role.ANALYST, "results", campaign=LAUNCHED)

    assert "Recipients are being prepared: 0 so far." in said(live)
    assert "The reports know no message of this campaign yet" in said(results)


def test_a_file_is_previewed_checked_confirmed_and_its_columns_chosen(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "imports")
    rows = "Kontakt;Name;Ort\n4917012345678;Jürgen;Köln\n12;Bo;Ulm\n"
    at.file_uploader(key="file_0").upload("leute.csv", rows.encode("cp1252"), "text/csv").run()

    assert not at.exception
    assert "Text in Windows Latin, columns separated by semicolons" in said(at)
    assert "No column was recognised as phone numbers" in said(at)
    assert at.button(key="check_import").disabled
    (phone,) = [box for box in at.selectbox if (box.key or "").startswith("column_phone_")]
    phone.select("Kontakt").run()

    assert not at.exception
    assert "had lost the plus" in said(at)
    assert "the phone number is too short" in said(at)
    at.button(key="check_import").click().run()

    assert not at.exception
    assert "leute" in said(at).split("Earlier imports")[0]
    at.button(key="pause_import").click().run()
    assert "Paused" in said(at)
    at.button(key="cancel_import").click().run()
    assert "Cancelled" in said(at)
