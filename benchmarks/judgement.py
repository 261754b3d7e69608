"""One campaign judged: our rows against the provider's own log; pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.provider import Accepted

WENT = frozenset({"accepted", "held", "sent", "delivered", "read"})  # here it counts as with the provider
NOT_SENT = frozenset({"failed", "skipped", "cancelled"})  # here nobody got it; the quiet simulator fails nothing later
OVER = WENT | NOT_SENT | {"unknown"}


@dataclass(frozen=True)
class Verdict:
    """What became of a campaign's recipients; counts of messages."""

    accepted: int  # by the provider
    failed: int
    skipped: int
    unknown: int
    settled_by_webhook: int  # our request had no answer, the status webhook told
    unknown_though_accepted: int  # the provider has it and its webhooks came, and still we do not know
    duplicates: int  # a person or a correlation id more than once in the provider's log
    lost: int  # neither with the provider nor accounted for here, or still open
    wrong: int  # with the provider, and here recorded as failed, skipped or cancelled
    balances: bool
    unknown_reasons: Counter[str] = field(default_factory=Counter)


def judge(rows: Sequence[Mapping[str, Any]], accepted: Sequence[Accepted], audience: int) -> Verdict:
    """`rows` are the campaign's messages (id, status, accepted_at, error), `accepted` the log since its launch."""
    labels, people = Counter(each.label for each in accepted), Counter(each.to for each in accepted)
    status = {str(row["id"]): str(row["status"]) for row in rows}
    words = Counter(status.values())
    reported = {each.label for each in accepted if each.reports}
    lost = sum(word in WENT and label not in labels for label, word in status.items())
    lost += sum(word not in OVER for word in status.values())
    return Verdict(
        accepted=len(accepted),
        failed=words["failed"],
        skipped=words["skipped"] + words["cancelled"],
        unknown=words["unknown"],
        settled_by_webhook=sum(row["accepted_at"] is None and str(row["status"]) in WENT for row in rows),
        unknown_though_accepted=sum(word == "unknown" and label in reported for label, word in status.items()),
        duplicates=max(_beyond_once(labels), _beyond_once(people)),
        lost=lost + sum(label not in status for label in labels),
        wrong=sum(word in NOT_SENT and label in labels for label, word in status.items()),
        balances=sum(words[word] for word in OVER) == len(rows) == audience,
        unknown_reasons=Counter(str(row["error"]) for row in rows if row["status"] == "unknown"),
    )


def _beyond_once(counts: Counter[str]) -> int:
    return sum(count - 1 for count in counts.values())
