"""The crash proof, in short: real processes, one part dies in mid-campaign, nobody is lost or messaged twice."""

from benchmarks import office as setting
from benchmarks.crash import Plan, disturbed_round
from benchmarks.harness import running
from benchmarks.people import seed
from benchmarks.provider import provider

PARTS = ("worker", "postgres", "valkey", "flushall", "api")


async def test_no_part_that_dies_costs_a_message_or_doubles_one() -> None:
    async with running() as stack:
        await seed(stack, 300)
        async with setting.office(stack) as office, provider(stack) as log:
            sender = await office.sender(1000)
            plan = Plan(office, log, sender, await office.template(sender), await office.audience())

            rounds = [
                await disturbed_round(stack, plan, number, part, at_s=0.5, away_s=0.5)
                for number, part in enumerate(PARTS, start=1)
            ]

    verdicts = [each.verdict for each in rounds]
    assert [found.duplicates for found in verdicts] == [0] * len(PARTS)
    assert [found.lost for found in verdicts] == [0] * len(PARTS)
    assert [found.wrong for found in verdicts] == [0] * len(PARTS)
    assert all(found.balances for found in verdicts)
    assert all(found.unknown_though_accepted == 0 for found in verdicts)
