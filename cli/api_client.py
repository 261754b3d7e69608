"""The product's HTTP API as the command line uses it: JSON in and out, every refusal one sentence."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import urlsplit

import httpx
import typer

from cli.output import interactive
from core.errors import AppError, Unauthorized, Unavailable
from core.settings import Settings

TIMEOUT_S = 60.0
Json = dict[str, Any]
Upload = tuple[str, IO[bytes], str]  # file name, content, media type


class Refused(AppError):
    """The API said no; `status` is the HTTP status and `facts` what its problem document says besides."""

    code = "refused"

    def __init__(self, message: str, http_status: int, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.http_status = http_status


class ApiClient:
    """One signed-in caller of the API."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        headers = {"authorization": f"Bearer {token}"} if token else {}
        # A proxy of the environment is for the world outside, never for this machine.
        is_local = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=not is_local)

    @classmethod
    async def signed_in(cls, url: str, email: str, password: str) -> Self:
        """A client with a session of its own; raises Refused for a wrong password."""
        anonymous = cls(url)
        try:
            session = await anonymous.post("/api/session", {"email": email, "password": password})
        finally:
            await anonymous.aclose()
        return cls(url, session["token"])

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def get(self, path: str, **query: str | int) -> Json:
        return await self._json("GET", path, params=query)

    async def post(self, path: str, body: Json | None = None, *, idempotency_key: str | None = None) -> Json:
        headers = {"idempotency-key": idempotency_key} if idempotency_key else {}
        return await self._json("POST", path, json=body if body is not None else {}, headers=headers)

    async def put(self, path: str, body: Json) -> Json:
        return await self._json("PUT", path, json=body)

    async def delete(self, path: str, **query: str | int) -> Json:
        return await self._json("DELETE", path, params=query)

    async def upload(self, path: str, file: Upload, fields: Mapping[str, str]) -> Json:
        return await self._json("POST", path, files={"file": file}, data=dict(fields))

    async def items(self, path: str, **query: str | int) -> list[Json]:
        """All items of a list, page by page."""
        found: list[Json] = []
        page = await self.get(path, **query)
        found += page["items"]
        while page.get("next"):
            page = await self.get(path, **query, cursor=page["next"])
            found += page["items"]
        return found

    async def download(self, path: str, to: Path) -> int:
        """Save an answer as a file only its owner may read, whole or not at all; returns its bytes."""
        beside, size = to.with_name(to.name + ".part"), 0
        beside.touch(mode=0o600)
        try:
            async with self._http.stream("GET", path) as answer:
                if answer.status_code >= 400:
                    await answer.aread()
                    raise _refusal(answer)
                with beside.open("wb") as file:
                    async for block in answer.aiter_bytes():
                        size += file.write(block)
        except httpx.TransportError as lost:
            raise self._unreachable(lost) from lost
        beside.replace(to)
        return size

    async def _json(self, method: str, path: str, **request: Any) -> Json:
        try:
            answer = await self._http.request(method, path, **request)
        except httpx.TransportError as lost:
            raise self._unreachable(lost) from lost
        if answer.status_code >= 400:
            raise _refusal(answer)
        body = answer.json() if answer.content else {}
        return body if isinstance(body, dict) else {"items": body}

    def _unreachable(self, lost: httpx.TransportError) -> Unavailable:
        if isinstance(lost, httpx.TimeoutException):
            return Unavailable(f"the API at {self.url} did not answer in time: try again")
        return Unavailable(f"the API at {self.url} cannot be reached: start it with kairan up, or set KAIRAN_API_URL")


def _refusal(answer: httpx.Response) -> Refused:
    """The sentence of a problem document, with the fields it names; of anything else the status alone."""
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    sentence = str(problem.pop("detail", None) or problem.get("title") or f"status {answer.status_code}")
    fields = [field for field in problem.get("errors") or [] if field.get("message") != sentence]
    wrong = [f"{field.get('field')}: {field.get('message')}" for field in fields]
    if wrong:
        sentence = f"{sentence} ({'; '.join(wrong)})"
    facts = {name: value for name, value in problem.items() if name not in ("type", "title", "status", "code")}
    return Refused(f"the API refused: {sentence}", answer.status_code, **facts)


@asynccontextmanager
async def connect(settings: Settings, api_key: str | None) -> AsyncIterator[ApiClient]:
    """A client for a command: with the key given, or after asking for e-mail and password."""
    if api_key:
        client = ApiClient(settings.own_api_url, api_key)
    elif interactive():
        email = typer.prompt("E-mail", err=True)
        password = typer.prompt("Password", hide_input=True, err=True)
        client = await ApiClient.signed_in(settings.own_api_url, email, password)
    else:
        raise Unauthorized("who are you? Set KAIRAN_API_KEY to a key made with kairan keys add")
    async with client:
        yield client
