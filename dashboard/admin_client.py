"""The part of the API with which an installation is set up: templates, numbers, prices, users, keys."""

from dashboard import admin_payloads as p
from dashboard.api_client import ApiClient
from dashboard.payloads import Json, Page


class AdminClient(ApiClient):
    """Every method raises `AppError` with a sentence."""

    def definitions(self) -> list[p.Definition]:
        return self._get("/api/templates", Page[p.Definition]).items

    def add_template(self, body: Json, key: str) -> p.Definition:
        return self._post("/api/templates", p.Definition, body, key)

    def submit_template(self, template_id: str) -> p.Definition:
        return self._post(f"/api/templates/{template_id}/submit", p.Definition, {})

    def discard_template(self, template_id: str) -> None:
        self._send("DELETE", f"/api/templates/{template_id}")

    def sync_templates(self, sender_id: str) -> p.Synced:
        return self._post("/api/templates/sync", p.Synced, {"sender_id": sender_id})

    def numbers(self) -> list[p.Number]:
        return self._get("/api/senders", Page[p.Number]).items

    def add_number(self, body: Json, key: str) -> p.Number:
        return self._post("/api/senders", p.Number, body, key)

    def change_number(self, number_id: str, body: Json) -> None:
        self._send("PATCH", f"/api/senders/{number_id}", body=body)

    def act_on_number(self, number_id: str, verb: str, body: Json | None = None) -> None:
        """`verb` is pause (with `reason`), resume or subscribe."""
        self._send("POST", f"/api/senders/{number_id}/{verb}", body=body or {})

    def cards(self) -> list[p.Card]:
        return self._get("/api/rates/cards", Page[p.Card]).items

    def rates(self, *, market: str, cursor: str, limit: int) -> Page[p.Rate]:
        return self._get("/api/rates", Page[p.Rate], market=market, cursor=cursor, limit=limit)

    def load_rates(self, filename: str, content: bytes, effective_from: str) -> int:
        form = {"effective_from": effective_from} if effective_from else {}
        return self._decode(self._send("POST", "/api/rates", form=form, file=(filename, content)), p.Loaded).rows

    def users(self) -> list[p.Account]:
        return self._get("/api/users", Page[p.Account]).items

    def add_user(self, body: Json, key: str) -> p.Account:
        return self._post("/api/users", p.Account, body, key)

    def change_user(self, user_id: str, body: Json) -> None:
        self._send("PATCH", f"/api/users/{user_id}", body=body)

    def keys(self) -> list[p.Key]:
        return self._get("/api/keys", Page[p.Key]).items

    def add_key(self, name: str, role: str) -> p.Key:
        return self._post("/api/keys", p.Key, {"name": name, "role": role})

    def revoke_key(self, key_id: str) -> None:
        self._send("POST", f"/api/keys/{key_id}/revoke", body={})
