"""A request to the simulated Graph API, as its handlers see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl

import msgspec

from sandbox.errors import GraphError
from sandbox.simulation import Sandbox


class Reply(NamedTuple):
    """An answer: HTTP status, body and content type."""

    status: int
    body: bytes
    content_type: bytes = b"application/json; charset=UTF-8"


class Part(NamedTuple):
    """A part of a multipart body."""

    name: str
    filename: str | None
    content_type: str
    content: bytes


@dataclass(slots=True)
class Call:
    """One request; `version` is the major Graph version, `base_url` scheme and host as the client wrote them."""

    sandbox: Sandbox
    method: str
    version: int
    node: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    base_url: str

    def parameters(self) -> dict[str, object]:
        """Query and body together, as Graph reads them; a JSON or form body wins. Raises GraphError 100."""
        found: dict[str, object] = dict(self.query)
        kind = self.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind == "application/x-www-form-urlencoded":
            found |= dict(parse_qsl(self.body.decode("utf-8", "replace")))
        elif self.body:
            try:
                decoded = msgspec.json.decode(self.body)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise GraphError(
                    100, message="(#100) Invalid parameter", details="The body is not valid JSON."
                ) from error
            if not isinstance(decoded, dict):
                raise GraphError(100, message="(#100) The body must be a JSON object.")
            found |= decoded
        return found

    def parts(self) -> list[Part]:
        """The parts of a multipart/form-data body (RFC 7578); raises GraphError 100."""
        kind, options = _header_options(self.headers.get("content-type", ""))
        boundary = options.get("boundary")
        if kind != "multipart/form-data" or not boundary:
            raise GraphError(100, message="(#100) The body must be multipart/form-data.")
        parts: list[Part] = []
        for chunk in (b"\r\n" + self.body).split(b"\r\n--" + boundary.encode())[1:]:
            if chunk.startswith(b"--"):
                return parts
            head, found, content = chunk.partition(b"\r\n\r\n")
            if not found:
                break
            parts.append(_part(head.decode("utf-8", "replace"), content))
        raise GraphError(100, message="(#100) The multipart body is incomplete.")


def _part(head: str, content: bytes) -> Part:
    headers = {}
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    _, options = _header_options(headers.get("content-disposition", ""))
    return Part(options.get("name", ""), options.get("filename"), headers.get("content-type", "text/plain"), content)


def _header_options(value: str) -> tuple[str, dict[str, str]]:
    kind, *rest = value.split(";")
    options = {}
    for item in rest:
        name, _, text = item.partition("=")
        options[name.strip().lower()] = text.strip().strip('"')
    return kind.strip().lower(), options
