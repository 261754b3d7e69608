"""What a file claims about consent, summed up for who decides about it: how many, since when, gathered how."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Self

import msgspec

from core.services.imports_rows import Row

SHOWN = 10  # of each kind of saying, the most frequent
_KEPT = 500  # of each kind, while they are counted: beyond it the rarest are forgotten
_BURST = 5  # opt-ins of one block in the same second: fewer are chance
_SAYINGS = ("method", "collection_point", "notice_id")


class Claims(msgspec.Struct):
    """Of the rows that can be recorded. Sayings beyond the 500 most frequent of a kind are not counted."""

    opt_ins: int = 0
    opt_outs: int = 0
    earliest: datetime | None = None
    latest: datetime | None = None
    sayings: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)  # our field → what it says → opt-ins
    seconds: dict[str, int] = msgspec.field(default_factory=dict)  # an instant, ISO 8601 → opt-ins in that second

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Self:
        """What rows of one block claim; a day without a time is no second."""
        claims, said, seconds = cls(), {name: Counter[str]() for name in _SAYINGS}, Counter[datetime]()
        for row in rows:
            if row.problem is not None or not row.action:
                continue
            if row.action == "opt_out":
                claims.opt_outs += 1
                continue
            claims.opt_ins += 1
            values = row.values
            for name, counted in said.items():
                counted[values.get(name, "")] += 1
            if (at := row.occurred_at) is not None:
                claims._widen(at, at)
                if ":" in values["occurred_at"]:
                    seconds[at] += 1
        claims.sayings = {name: {word[:80]: many for word, many in said[name].items()} for name in _SAYINGS}
        claims.seconds = {at.isoformat(): many for at, many in seconds.items() if many >= _BURST}
        return claims

    def _widen(self, earliest: datetime | None, latest: datetime | None) -> None:
        self.earliest = min(filter(None, (self.earliest, earliest)), default=None)
        self.latest = max(filter(None, (self.latest, latest)), default=None)

    def add(self, other: Self) -> None:
        """Count another block's as well."""
        self.opt_ins += other.opt_ins
        self.opt_outs += other.opt_outs
        self._widen(other.earliest, other.latest)
        for name, words in other.sayings.items():
            self.sayings[name] = _most(Counter(self.sayings.get(name, {})) + Counter(words), _KEPT)
        self.seconds = _most(Counter(self.seconds) + Counter(other.seconds), _KEPT)

    def shown(self) -> dict[str, object]:
        """What is kept with the import, as JSON: the most frequent of each kind, and the fullest second."""
        most = {name: _most(Counter(words), SHOWN) for name, words in self.sayings.items()}
        fullest = next(iter(_most(Counter(self.seconds), 1).items()), None)
        kept: dict[str, object] = {
            "opt_ins": self.opt_ins,
            "opt_outs": self.opt_outs,
            "sayings": {name: words for name, words in most.items() if words},
        }
        for name, at in (("earliest", self.earliest), ("latest", self.latest)):
            kept |= {name: at.isoformat()} if at else {}
        return kept | ({"fullest_second": {"at": fullest[0], "opt_ins": fullest[1]}} if fullest else {})


def _most(counted: Counter[str], many: int) -> dict[str, int]:
    return dict(counted.most_common(many))
