"""The part of the API behind the compliance desk."""

from urllib.parse import quote

from dashboard import oversight_payloads as p
from dashboard.payloads import Import, Json, Page
from dashboard.people_client import PeopleClient


class OversightClient(PeopleClient):
    """Every method raises `AppError` with a sentence."""

    def overview(self) -> p.Overview:
        return self._get("/api/consents/overview", p.Overview)

    def proof(self, campaign_id: str) -> p.Proof:
        return self._get(f"/api/campaigns/{campaign_id}/proof", p.Proof)

    def integrity(self) -> p.Integrity:
        return self._get("/api/ledger/integrity", p.Integrity)

    def ask_for_check(self) -> None:
        self._send("POST", "/api/ledger/verify", body={})

    def recover(self, reason: str, *, really: bool) -> p.Recovery:
        """Without `really`, only what it would come to."""
        return self._post("/api/ledger/recover", p.Recovery, {"reason": reason, "dry_run": not really})

    def checkpoint_note(self, size: int) -> bytes:
        return self._send("GET", f"/api/ledger/checkpoints/{size}")

    def anchor(self, size: int, kind: str, reference: str) -> None:
        body: Json = {"size": size, "kind": kind, "reference": reference}
        self._send("POST", "/api/ledger/anchors", body=body)

    def purposes_in_force(self) -> list[p.Purpose]:
        return self._get("/api/purposes", Page[p.Purpose]).items

    def notices(self) -> list[p.Notice]:
        return self._get("/api/notices", Page[p.Notice]).items

    def invalidation_preview(self, kind: str, target: str) -> p.InvalidationPreview:
        return self._get("/api/invalidations/preview", p.InvalidationPreview, kind=kind, target=target)

    def invalidate(self, kind: str, target: str, reason: str, key: str) -> p.Invalidation:
        body: Json = {"kind": kind, "target": target, "reason": reason}
        return self._post("/api/invalidations", p.Invalidation, body, key)

    def invalidation(self, invalidation_id: str) -> p.Invalidation:
        return self._get(f"/api/invalidations/{invalidation_id}", p.Invalidation)

    def invalidations(self, *, cursor: str = "", limit: int = 20) -> Page[p.Invalidation]:
        return self._get("/api/invalidations", Page[p.Invalidation], limit=limit, cursor=cursor)

    def drafts(self) -> list[p.Draft]:
        return self._get("/api/registry-drafts", Page[p.Draft]).items

    def propose(self, kind: str, content: Json, key: str) -> p.Draft:
        return self._post("/api/registry-drafts", p.Draft, {"kind": kind, "content": content}, key)

    def publish_draft(self, draft_id: str) -> None:
        self._send("POST", f"/api/registry-drafts/{draft_id}/publish", body={})

    def reject_draft(self, draft_id: str, reason: str) -> None:
        self._send("POST", f"/api/registry-drafts/{draft_id}/reject", body={"reason": reason})

    def imports_to_approve(self, *, limit: int = 200) -> Page[Import]:
        return self._get("/api/imports", Page[Import], status="awaiting", limit=limit)

    def approval(self, import_id: str) -> p.Approval:
        return self._get(f"/api/imports/{quote(import_id, safe='')}/approval", p.Approval)

    def find_sampled(self, import_id: str, row_number: int, finding: str, note: str) -> None:
        body: Json = {"finding": finding, "note": note or None}
        self._send("PUT", f"/api/imports/{import_id}/sample/{row_number}", body=body)

    def approve_import(self, import_id: str) -> None:
        self._send("POST", f"/api/imports/{import_id}/approve", body={})

    def refuse_import(self, import_id: str, reason: str) -> None:
        self._send("POST", f"/api/imports/{import_id}/refuse", body={"reason": reason})

    def audit_log(self, *, action: str = "", actor: str = "", cursor: str = "", limit: int = 50) -> Page[p.Entry]:
        return self._get("/api/audit-log", Page[p.Entry], action=action, actor=actor, limit=limit, cursor=cursor)

    def forms(self, q: str, *, limit: int) -> Page[p.Form]:
        return self._get("/api/forms", Page[p.Form], q=q, limit=limit)

    def add_form(self, body: Json, key: str) -> p.Form:
        return self._post("/api/forms", p.Form, body, key)

    def change_form(self, form_id: str, body: Json) -> p.Form:
        return self._decode(self._send("PATCH", f"/api/forms/{form_id}", body=body), p.Form)

    def form_picture(self, form_id: str) -> bytes:
        """A QR code of the form's address, as SVG."""
        return self._send("GET", f"/api/forms/{form_id}/qr.svg")
