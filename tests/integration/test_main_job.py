"""The main job from the first row of a file to the last receipt."""

from core.statuses import DeliveryStatus
from tests.factories import a_campaign, a_sender, a_template, an_audience, an_import, consenting, csv_of, launched
from tests.integration.stack import Stack

PEOPLE = [f"+4917012345{number:02d}" for number in range(40)]


async def test_everybody_who_agreed_gets_the_campaign_once_and_nobody_else_does(stack: Stack) -> None:
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    rows = [consenting(phone) for phone in PEOPLE]
    rows += [consenting("+4917099999990", action="opt_out"), {"phone": "+4917099999991", "name": "No consent"}]
    done = await an_import(stack, csv_of(rows))
    assert done["verdicts"] == {"accepted": 40, "contact_only": 1, "opt_out_applied": 1}
    audience = await an_audience(stack)
    campaign = await a_campaign(stack, sender, template, audience)

    review = (await launched(stack, campaign))["review"]
    assert (review["audience"], review["reachable"]) == (42, 40)
    assert review["unreachable"] == {"no_consent": 1, "withdrawn": 1}
    await stack.settle()

    found = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()
    assert found["status"] == "completed"
    assert found["balance"]["audience"] == 42 == sum(found["balance"][status] for status in DeliveryStatus)
    assert found["balance"]["read"] == 40
    assert found["skipped"] == {"no_consent": 1, "suppressed": 1}
    sent_to = [message.person.wa_id for message in stack.sandbox.store.messages]
    assert sorted(sent_to) == sorted(phone.lstrip("+") for phone in PEOPLE)


async def test_a_row_that_lacked_evidence_counts_once_it_comes_again_with_it(stack: Stack) -> None:
    incomplete = consenting(PEOPLE[0], evidence_ref="")

    first = await an_import(stack, csv_of([incomplete]))
    again = await an_import(stack, csv_of([incomplete]))
    completed = await an_import(stack, csv_of([consenting(PEOPLE[0])]))

    verdicts = [found["verdicts"] for found in (first, again, completed)]
    assert verdicts == [{"not_sendable": 1}, {"duplicate": 1}, {"accepted": 1}]
