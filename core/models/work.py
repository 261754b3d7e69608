"""Long work with progress: imports, their rows, exports; and the head of the lake."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ForeignKey, func, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Model, WithId
from core.statuses import Finding, ImportStatus, WorkStatus


class Import(WithId):
    """A file of contacts and consents on its way in."""

    __tablename__ = "imports"

    filename: Mapped[str]
    path: Mapped[str]  # under DATA_DIR/imports
    sha256: Mapped[str]
    bytes: Mapped[int]
    status: Mapped[ImportStatus]
    dry_run: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))  # check first, write nothing
    options: Mapped[dict[str, Any]]  # columns, country, zone, merge policy, audience, format found
    audience_name: Mapped[str | None]  # of a list to be made when a check is confirmed
    error: Mapped[str | None]
    rows_read: Mapped[int] = mapped_column(server_default=text("0"))  # before the first is recorded, all are read
    rows_total: Mapped[int | None]
    rows_done: Mapped[int] = mapped_column(server_default=text("0"))  # in the order they are worked, for resuming
    verdicts: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # verdict → rows
    notes: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # what was mended → rows
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    finished_at: Mapped[datetime | None]
    undone: Mapped[dict[str, Any] | None]  # what undoing took back → how many
    outs_recorded: Mapped[bool] = mapped_column(server_default=text("false"))  # while its opt-ins wait for somebody
    wanted: Mapped[bool] = mapped_column(server_default=text("false"))  # somebody asked for it to be recorded
    claims: Mapped[dict[str, Any] | None]  # what the file says about consent, summed up; known once it is read
    attestation: Mapped[dict[str, Any] | None]  # who vouches for its consents: name, role, statement, at, user_id
    approved_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))  # the second person
    approved_at: Mapped[datetime | None]


class ImportSample(Model):
    """A row of an import whose proof the second person opens, and what they found; the row itself is an ImportRow."""

    __tablename__ = "import_samples"

    import_id: Mapped[UUID] = mapped_column(ForeignKey("imports.id", ondelete="CASCADE"), primary_key=True)
    row_number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    finding: Mapped[Finding | None]
    note: Mapped[str | None]
    found_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    found_at: Mapped[datetime | None]


class ImportChange(Model):
    """What an import changed about somebody who was known before, so that it can be taken back."""

    __tablename__ = "import_changes"

    import_id: Mapped[UUID] = mapped_column(ForeignKey("imports.id", ondelete="CASCADE"), primary_key=True)
    contact_id: Mapped[UUID] = mapped_column(
        ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    before: Mapped[dict[str, Any]]  # field → value; attributes as one field each, `attributes.NAME`
    after: Mapped[dict[str, Any]]


class ImportRow(Model):
    """What became of one row of a file."""

    __tablename__ = "import_rows"

    import_id: Mapped[UUID] = mapped_column(ForeignKey("imports.id", ondelete="CASCADE"), primary_key=True)
    row_number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # the header is row 1
    verdict: Mapped[str]
    reason: Mapped[str | None]
    contact_id: Mapped[UUID | None]
    raw: Mapped[dict[str, Any] | None]  # kept for rejected rows, to be downloaded with the reason


class Export(WithId):
    """A package made for somebody; who asked, why, and what it holds."""

    __tablename__ = "exports"

    kind: Mapped[str]
    status: Mapped[WorkStatus]
    filters: Mapped[dict[str, Any]]
    reason: Mapped[str]
    path: Mapped[str | None]
    sha256: Mapped[str | None]
    bytes: Mapped[int | None]
    facts: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    error: Mapped[str | None]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    finished_at: Mapped[datetime | None]
    approved_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))  # the second person
    approved_at: Mapped[datetime | None]


class LakeHead(Model):
    """The lake's current manifest, swapped by compare-and-set."""

    __tablename__ = "lake_head"

    lake: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    manifest: Mapped[dict[str, Any]]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
