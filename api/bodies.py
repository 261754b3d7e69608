"""JSON bodies: refused at the door when nothing behind it could hold them."""

from typing import Any

from litestar import Request
from litestar.exceptions import SerializationException
from litestar.types import Empty

MAX_DEPTH = 64
NUL = "\0"
OWN_WORDS = ("the body is", "a text holds")  # how the refusals of this module start


class CheckedRequest(Request[Any, Any, Any]):
    """A request whose JSON is UTF-8, not absurdly deep, and free of NUL characters, which PostgreSQL cannot store."""

    async def json(self) -> Any:
        """The decoded body; raises SerializationException with a sentence for people."""
        if self._json is not Empty:
            return self._json
        body = await self.body()
        if not body.strip():
            raise SerializationException("the body is empty: send a JSON object")
        try:
            decoded = await super().json()
        except UnicodeDecodeError as wrong:
            raise SerializationException("the body is not UTF-8 text: encode it as UTF-8") from wrong
        except RecursionError as deep:
            raise SerializationException(_TOO_DEEP) from deep
        if body.count(b"[") + body.count(b"{") > MAX_DEPTH or b"\\u0000" in body:
            _check(decoded)
        return decoded


_TOO_DEEP = f"the body is nested more than {MAX_DEPTH} levels deep"


def _check(document: Any) -> None:
    """Walk the document without recursion; raises SerializationException."""
    waiting: list[tuple[Any, int]] = [(document, 1)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise SerializationException(_TOO_DEEP)
        if isinstance(value, str) and NUL in value:
            raise SerializationException("a text holds a NUL character: take it out")
        if isinstance(value, dict):
            waiting += [(each, depth + 1) for pair in value.items() for each in pair]
        elif isinstance(value, list):
            waiting += [(each, depth + 1) for each in value]
