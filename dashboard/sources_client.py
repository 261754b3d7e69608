"""The part of the API that is about webhooks from other systems, and what it answers; unknown fields are ignored."""

from datetime import datetime
from typing import Any

from msgspec import Struct, field

from dashboard.api_client import ApiClient
from dashboard.payloads import Json, Page


class Source(Struct):
    """Another system that posts to us; `secret` is there once, when it was made."""

    id: str
    url: str
    name: str
    scheme: str
    makes: str
    mapping: dict[str, str]
    created_at: datetime
    own_secret: bool = False
    signature_header: str | None = None
    id_header: str | None = None
    items: str | None = None
    region: str | None = None
    audience_id: str | None = None
    membership: str | None = None
    rotated_at: datetime | None = None
    disabled_at: datetime | None = None
    refused: int | None = None
    secret: str | None = None


class Field(Struct):
    makes: str
    name: str
    meaning: str
    needed: bool


class Item(Struct):
    index: int
    verdict: str
    reason: str | None = None
    values: dict[str, Any] | None = None


class Tried(Struct):
    status: str
    reason: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    items: list[Item] = field(default_factory=list)


class Taken(Struct):
    """One delivery; `kept` says that its body can be tried again."""

    id: str
    key: str
    status: str
    tries: int
    kept: bool
    created_at: datetime
    reason: str | None = None
    counts: dict[str, int] = field(default_factory=dict)


class Secret(Struct):
    secret: str | None = None


class Body(Struct):
    body: str


class Replayed(Struct):
    tried: int
    applied: int
    next: str | None = None


class SourcesClient(ApiClient):
    """Every method raises `AppError` with a sentence."""

    def fields(self) -> list[Field]:
        return self._get("/api/sources/fields", Page[Field]).items

    def sources(self, q: str, *, cursor: str = "", limit: int = 25) -> Page[Source]:
        return self._get("/api/sources", Page[Source], q=q, limit=limit, cursor=cursor)

    def add(self, body: Json, key: str) -> Source:
        return self._post("/api/sources", Source, body, key)

    def change(self, source_id: str, body: Json) -> None:
        self._send("PUT", f"/api/sources/{source_id}", body=body)

    def remove(self, source_id: str) -> None:
        self._send("DELETE", f"/api/sources/{source_id}")

    def switch(self, source_id: str, *, on: bool) -> None:
        self._send("POST", f"/api/sources/{source_id}/{'enable' if on else 'disable'}", body={})

    def rotate(self, source_id: str, secret: str) -> str | None:
        """The new secret, none when it is the other system's own."""
        body: Json = {"secret": secret} if secret else {}
        return self._post(f"/api/sources/{source_id}/rotate", Secret, body).secret

    def attempt(self, source: Json, body: str) -> Tried:
        """What a body would do if the source were like this."""
        return self._post("/api/sources/try", Tried, {"source": source, "body": body})

    def taken(self, source_id: str, *, status: str, q: str, cursor: str, limit: int) -> Page[Taken]:
        path = f"/api/sources/{source_id}/deliveries"
        return self._get(path, Page[Taken], status=status, q=q, cursor=cursor, limit=limit)

    def taken_csv(self, source_id: str, *, status: str, q: str) -> bytes:
        return self._download(f"/api/sources/{source_id}/deliveries.csv", status=status, q=q)

    def body(self, source_id: str, delivery_id: str) -> str:
        return self._get(f"/api/sources/{source_id}/deliveries/{delivery_id}/body", Body).body

    def replay_one(self, source_id: str, delivery_id: str) -> Tried:
        return self._post(f"/api/sources/{source_id}/deliveries/{delivery_id}/replay", Tried, {})

    def replay(self, source_id: str, cursor: str | None) -> Replayed:
        return self._post(f"/api/sources/{source_id}/replay", Replayed, {"cursor": cursor} if cursor else {})
