"""Imports with many opt-ins: a second person opens the proof of a sample, then lets the file in or refuses it."""

from uuid import UUID

from litestar import Controller, get, post, put
from litestar.params import FromPath, JSONBody

from api.auth import CONSENT, AuthedRequest
from api.import_shapes import ApprovalOut, FindingIn, ImportOut, RefusalIn, SampledOut
from api.state import Db, Held, Now
from core.services import imports, imports_approval, imports_ending, people
from core.statuses import ImportStatus


class ImportApprovalController(Controller):
    path = "/imports/{import_id:uuid}"
    tags = ("Imports",)

    @get("/approval", guards=[CONSENT])
    async def approval(
        self, import_id: FromPath[UUID], request: AuthedRequest, session: Db, parts: Held
    ) -> ApprovalOut:
        """What there is to decide, with the sample's rows as they came; that you looked is written down.

        Whoever brought the file or vouched for it sees no rows, or could bring it again until they are convenient.
        """
        job = await imports.get(session, import_id)
        mine = imports_approval.is_own(job, request.user)
        rows = [] if mine else [SampledOut.of(row) for row in await imports_approval.sample(session, import_id)]
        await people.note_look(session, request.user, "import.sample_opened", "import", import_id)
        return ApprovalOut(ImportOut.of(job, parts.settings), mine, rows)

    @put("/sample/{row_number:int}", guards=[CONSENT], status_code=200)
    async def find(
        self,
        import_id: FromPath[UUID],
        row_number: FromPath[int],
        data: JSONBody[FindingIn],
        request: AuthedRequest,
        session: Db,
        now: Now,
    ) -> None:
        """Write down what opening a row's proof showed; it can be written anew until the decision."""
        job = await imports.get(session, import_id, lock=True)
        await imports_approval.find(session, job, row_number, data.finding, note=data.note, actor=request.user, now=now)
        await people.note(session, request.user, f"import.row_{data.finding}", "import", import_id)

    @post("/approve", guards=[CONSENT], status_code=200)
    async def approve(
        self, import_id: FromPath[UUID], request: AuthedRequest, session: Db, parts: Held, now: Now
    ) -> ImportOut:
        """Let the file in, once every row of the sample was found proven; it is recorded in the background."""
        job = await imports.approve(session, import_id, actor=request.user, now=now)
        await people.note(session, request.user, "import.approved", "import", import_id)
        return ImportOut.of(job, parts.settings)

    @post("/refuse", guards=[CONSENT], status_code=200)
    async def refuse(
        self,
        import_id: FromPath[UUID],
        data: JSONBody[RefusalIn],
        request: AuthedRequest,
        session: Db,
        parts: Held,
        now: Now,
    ) -> ImportOut:
        """End the import; of its rows the opt-outs count, and nothing else. Whoever brought it reads the reason."""
        job = await imports.get(session, import_id, lock=True)
        why = imports_approval.refusal(job, reason=data.reason, actor=request.user)
        await imports_ending.finish(session, job, ImportStatus.CANCELLED, error=why, keyring=parts.keyring, now=now)
        await people.note(session, request.user, "import.refused", "import", import_id, reason=data.reason)
        return ImportOut.of(job, parts.settings)
