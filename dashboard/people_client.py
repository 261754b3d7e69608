"""The part of the API that is about people: contacts, their data and their requests."""

from urllib.parse import urlencode

from core.errors import NotFound
from dashboard import people_payloads as p
from dashboard.api_client import ApiClient
from dashboard.payloads import Audience, Json, Page


class PeopleClient(ApiClient):
    """Every method raises `AppError` with a sentence."""

    def contacts(self, q: str, *, cursor: str = "", limit: int = 25) -> Page[p.Contact]:
        return self._get("/api/contacts", Page[p.Contact], q=q, limit=limit, cursor=cursor)

    def profile(self, contact_id: str) -> p.Profile:
        return self._get(f"/api/contacts/{contact_id}/profile", p.Profile)

    def timeline(self, contact_id: str, *, cursor: str = "", limit: int = 30) -> Page[p.Happening]:
        return self._get(f"/api/contacts/{contact_id}/timeline", Page[p.Happening], limit=limit, cursor=cursor)

    def edit_contact(self, contact_id: str, body: Json) -> p.Contact:
        return self._decode(self._send("PATCH", f"/api/contacts/{contact_id}", body=body), p.Contact)

    def merge_contacts(self, keep_id: str, other_id: str, reason: str) -> p.Contact:
        body: Json = {"other_id": other_id, "reason": reason}
        return self._post(f"/api/contacts/{keep_id}/merge", p.Contact, body)

    def attributes(self) -> list[p.Attribute]:
        return self._get("/api/attributes", Page[p.Attribute]).items

    def opt_out(self, contact_id: str, reason: str, at: str, key: str) -> None:
        """All marketing ends; `at` is when the person said so, with its zone."""
        body: Json = {
            "action": "opt_out",
            "contact_id": contact_id,
            "source_record_id": key,
            "occurred_at": at,
            "method": "staff",
            "evidence": {"operator_note": reason},
        }
        self._send("POST", "/api/consents", body=body, key=key)

    def hold(self, contact_id: str, verb: str, reason: str) -> None:
        """`verb` is place (nothing at all is sent) or release."""
        self._send("POST", f"/api/holds/{contact_id}/{verb}", body={"reason": reason})

    def erase(self, contact_id: str, reason: str, *, really: bool) -> p.Erasure:
        query = {"reason": reason, "dry_run": "false" if really else "true"}
        return self._decode(self._send("DELETE", f"/api/contacts/{contact_id}", params={**query}), p.Erasure)

    def erased(self, phone: str, reason: str) -> list[p.Stub]:
        """Whoever had this number and was erased; none when nobody was."""
        try:
            return self._get("/api/contacts/erased", list[p.Stub], phone=phone, reason=reason)
        except NotFound:
            return []

    def copy_of_data(self, contact_id: str, kind: str, reason: str, form: str = "") -> bytes:
        """`kind` is access or portability, `form` html or json."""
        query = urlencode({"reason": reason} | ({"form": form} if form else {}))
        return self._send("GET", f"/api/contacts/{contact_id}/{kind}?{query}")

    def data_requests(self, status: str = "") -> list[p.DataRequest]:
        return self._get("/api/data-requests", Page[p.DataRequest], status=status, limit=200).items

    def open_request(self, body: Json, key: str) -> p.DataRequest:
        return self._post("/api/data-requests", p.DataRequest, body, key)

    def answer_request(self, request_id: str, action: str, body: Json) -> p.DataRequest:
        """`action` is proof, extend or close."""
        return self._post(f"/api/data-requests/{request_id}/{action}", p.DataRequest, body)

    def events(self) -> list[p.Event]:
        """What other systems told that people did."""
        return self._get("/api/events", Page[p.Event]).items

    def rule_cost(self, rule: Json) -> p.Cost:
        return self._post("/api/audiences/cost", p.Cost, {"rule": rule})

    def change_audience(self, audience_id: str, body: Json) -> Audience:
        return self._decode(self._send("PATCH", f"/api/audiences/{audience_id}", body=body), Audience)

    def count_audience(self, audience_id: str) -> None:
        self._send("POST", f"/api/audiences/{audience_id}/count", body={})

    def delete_audience(self, audience_id: str) -> None:
        self._send("DELETE", f"/api/audiences/{audience_id}")
