"""Every random choice: uniform numbers drawn from blake2b(seed, subject, purpose, counter).

The same seed gives the same person the same fate, whatever else happens and in whatever order requests arrive.
"""

import math
import struct
from hashlib import blake2b
from statistics import NormalDist
from typing import TypeVar

_T = TypeVar("_T")
_EIGHT = struct.Struct(">8Q")  # one 64-byte digest holds eight numbers
_STEP = 2.0**-52
_NORMAL = NormalDist()


class Draws:
    """An endless sequence of numbers for one (subject, purpose, counter)."""

    __slots__ = ("_block", "_key", "_left", "_name")

    def __init__(self, key: bytes, name: bytes) -> None:
        self._key, self._name, self._block = key, name, 0
        self._left: list[int] = []

    def uniform(self) -> float:
        """A number in the open interval (0, 1), with 52 random bits."""
        left = self._left
        if not left:
            digest = blake2b(self._name + self._block.to_bytes(2, "big"), key=self._key).digest()
            self._block += 1
            left.extend(_EIGHT.unpack(digest))
        return ((left.pop() >> 12) + 0.5) * _STEP

    def happens(self, probability: float) -> bool:
        """True with the given probability; always uses up one number, so later draws do not depend on it."""
        return self.uniform() < probability

    def between(self, low: float, high: float) -> float:
        """A number between `low` and `high`."""
        return low + (high - low) * self.uniform()

    def lognormal(self, median: float, sigma: float) -> float:
        """A heavy-tailed positive number whose median is `median` and whose logarithm has deviation `sigma`."""
        return median * math.exp(sigma * _NORMAL.inv_cdf(self.uniform()))

    def pick(self, options: tuple[_T, ...]) -> _T:
        """One of the options, all equally likely."""
        return options[int(self.uniform() * len(options))]


class Dice:
    """Makes `Draws`; two dice with one seed are interchangeable."""

    def __init__(self, seed: int) -> None:
        self._key = blake2b(str(seed).encode(), digest_size=32).digest()

    def draws(self, subject: str, purpose: str, counter: int = 0) -> Draws:
        """The numbers that decide `purpose` for `subject` the `counter`-th time."""
        return Draws(self._key, f"{subject}\x1f{purpose}\x1f{counter}".encode())
