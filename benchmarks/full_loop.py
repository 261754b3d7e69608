"""`full-loop`: a campaign goes out at the ceiling while the simulator returns every status of every message."""

import time

from benchmarks import office as setting
from benchmarks.harness import running
from benchmarks.machine import Cpu
from benchmarks.people import seed
from benchmarks.provider import per_second, provider
from benchmarks.report import Report
from benchmarks.send import cpu_grid

LIMIT = 1000
MESSAGES = 30_000
RECORDED_WITHIN_S = 5.0


async def full_loop(sizes: list[int]) -> Report:
    """`full-loop [MESSAGES]`."""
    count = sizes[0] if sizes else MESSAGES
    report = Report("full-loop")
    async with running(throughputs=(LIMIT,)) as stack:
        await seed(stack, count)
        async with setting.office(stack) as office, provider(stack) as log:
            sender = await office.sender(LIMIT)
            campaign = await office.campaign(sender, await office.template(sender), await office.audience())
            cpu = Cpu(stack.pids).start()
            await office.launch(campaign)
            await setting.until_sent(stack, campaign)
            await log.until_settled(60 + count / 50)
            settled = time.time()
            await setting.until_recorded(stack)
            lag_s = time.time() - settled
            spent = cpu.spent()
            accepted = await log.accepted()
        async with stack.database() as database:
            facts = dict(await database.fetch("SELECT kind, count(*) FROM message_events GROUP BY kind"))
            behind = await database.fetchrow(
                "SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY s) AS p99, max(s) AS most FROM"
                " (SELECT extract(epoch FROM recorded_at - created_at) AS s FROM webhook_events) w"
            )
            parked = await database.fetchval("SELECT count(*) FROM parked_statuses")
    reported = sum(each.reports for each in accepted)
    recorded = sum(facts.get(word, 0) for word in ("sent", "delivered", "read", "failed"))
    report.add("messages per second", per_second([each.at for each in accepted]), "1/s", at_least=LIMIT * 0.985)
    report.add("sent twice", len(accepted) - len({each.label for each in accepted}), "messages", at_most=0)
    report.add("statuses the provider returned", reported, "statuses")
    report.add("statuses not recorded", abs(reported - recorded), "statuses", at_most=0)
    report.add("statuses waiting for their message at the end", parked, "statuses", at_most=0)
    report.add("committed to recorded, p99", float(behind["p99"] or 0), "s", at_most=RECORDED_WITHIN_S)
    report.add("committed to recorded, slowest", float(behind["most"] or 0), "s")
    report.add("last status to everything recorded", lag_s, "s", at_most=RECORDED_WITHIN_S)
    report.grids.append(cpu_grid(spent, count))
    return report
