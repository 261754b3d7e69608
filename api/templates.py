"""Templates and the media their headers show."""

import re
import shutil
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Self
from uuid import UUID, uuid4

from litestar import Controller, Response, delete, get, post
from litestar.datastructures import UploadFile
from litestar.params import FromPath, JSONBody, MultipartBody
from msgspec import Meta, Struct

from api.auth import MARKETING, READ_MARKETING, AuthedRequest
from api.idempotency import once
from api.paging import PageOut
from api.sentences import LANGUAGE
from api.state import Db, Held, Now
from core import template as rules
from core.errors import AppError
from core.models import Media
from core.services import media, people, senders, templates
from core.services.templates import Current, Definition
from core.statuses import Category, TemplateStatus


class TemplateIn(Struct, forbid_unknown_fields=True):
    sender_id: UUID
    name: Annotated[str, Meta(min_length=1, max_length=512)]
    language: Annotated[str, Meta(pattern=LANGUAGE)]
    components: list[dict[str, Any]]
    category: Category = Category.MARKETING
    purpose: str = "marketing"
    parameter_format: str = "positional"
    header_media_id: UUID | None = None
    draft: bool = False  # keep it without telling the provider


class SubmitIn(Struct, forbid_unknown_fields=True):
    header_media_id: UUID | None = None


class PlaceholderOut(Struct):
    key: str
    component: str
    type: str
    name: str | None
    index: int | None
    example: str | None
    required: bool


class TemplateOut(Struct):
    id: UUID
    name: str
    language: str
    category: Category
    purpose: str
    status: TemplateStatus
    status_reason: str | None
    quality: str | None
    version: int
    version_id: UUID
    parameter_format: str
    components: list[Any]
    placeholders: list[PlaceholderOut]
    created_at: datetime

    @classmethod
    def of(cls, current: Current) -> Self:
        template, version = current.template, current.version
        return cls(
            id=template.id,
            name=template.name,
            language=template.language,
            category=template.category,
            purpose=template.purpose,
            status=template.status,
            status_reason=template.status_reason,
            quality=template.quality,
            version=version.version,
            version_id=version.id,
            parameter_format=version.parameter_format,
            components=version.components,
            placeholders=[PlaceholderOut(**asdict(hole)) for hole in rules.placeholders(version.components)],
            created_at=template.created_at,
        )


class SyncIn(Struct, forbid_unknown_fields=True):
    sender_id: UUID
    purpose: str = "marketing"  # of templates seen for the first time


class SyncOut(Struct):
    created: int
    updated: int


class MediaIn(Struct):
    file: UploadFile
    sender_id: UUID


class MediaOut(Struct):
    id: UUID
    provider_id: str
    filename: str
    mime_type: str
    bytes: int
    expires_at: datetime

    @classmethod
    def of(cls, made: Media) -> Self:
        return cls(made.id, made.provider_id, made.filename, made.mime_type, made.bytes, made.expires_at)


def _file_name(given: str) -> str:
    """The name a person gave a file, as any file system takes it; the provider shows it for documents."""
    name = re.sub(r"[^\w .()-]", "_", Path(given).name).strip(" .")
    stem, dot, kind = name.rpartition(".")
    return f"{stem[:60]}{dot}{kind[:10]}" if stem else name[:60] or "file"


class TemplateController(Controller):
    path = "/templates"
    tags = ("Templates",)

    @get(guards=[READ_MARKETING])
    async def list_templates(self, session: Db) -> PageOut[TemplateOut]:
        return PageOut([TemplateOut.of(current) for current in await templates.list_all(session)], None)

    @get("/{template_id:uuid}", guards=[READ_MARKETING])
    async def read(self, template_id: FromPath[UUID], session: Db) -> TemplateOut:
        return TemplateOut.of(await templates.get(session, template_id))

    @post(guards=[MARKETING])
    async def create(
        self, data: JSONBody[TemplateIn], request: AuthedRequest, parts: Held, session: Db
    ) -> Response[TemplateOut]:
        """Define a template and submit it to the provider for review, or keep it as a draft."""

        async def make() -> TemplateOut:
            sender = await senders.get(session, data.sender_id)
            header = await media.get(session, data.header_media_id) if data.header_media_id else None
            definition = Definition(
                name=data.name,
                language=data.language,
                category=data.category,
                purpose=data.purpose,
                parameter_format=data.parameter_format,
                components=data.components,
            )
            author = request.user.user_id
            if data.draft:
                made = await templates.save_draft(session, sender, definition, created_by=author)
            else:
                made = await templates.submit(
                    session, parts.whatsapp, sender, definition, header_media=header, created_by=author
                )
            act = "template.drafted" if data.draft else "template.submitted"
            await people.note(session, request.user, act, "template", made.template.id)
            await session.refresh(made.template)
            return TemplateOut.of(made)

        return await once(request, session, TemplateOut, make)

    @post("/{template_id:uuid}/submit", guards=[MARKETING], status_code=200)
    async def submit(
        self,
        template_id: FromPath[UUID],
        data: JSONBody[SubmitIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
    ) -> TemplateOut:
        """Send a draft to the provider for review."""
        header = await media.get(session, data.header_media_id) if data.header_media_id else None
        made = await templates.submit_draft(session, parts.whatsapp, template_id, header_media=header)
        await people.note(session, request.user, "template.submitted", "template", template_id)
        return TemplateOut.of(made)

    @delete("/{template_id:uuid}", guards=[MARKETING])
    async def discard(self, template_id: FromPath[UUID], request: AuthedRequest, session: Db) -> None:
        """Delete a draft; what the provider knows is deleted there."""
        await templates.discard_draft(session, template_id)
        await people.note(session, request.user, "template.discarded", "template", template_id)

    @post("/sync", guards=[MARKETING], status_code=200)
    async def sync(self, data: JSONBody[SyncIn], request: AuthedRequest, parts: Held, session: Db) -> SyncOut:
        """Take over the provider's list: new templates, statuses, contents."""
        sender = await senders.get(session, data.sender_id)
        created, updated = await templates.sync(session, parts.whatsapp, sender.waba_id, default_purpose=data.purpose)
        await people.note(session, request.user, "templates.synchronised", "sender", sender.id)
        return SyncOut(created, updated)


class MediaController(Controller):
    path = "/media"
    tags = ("Templates",)

    @post(guards=[MARKETING], request_max_body_size=101 << 20)
    async def upload(
        self,
        data: MultipartBody[MediaIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
        now: Now,
    ) -> MediaOut:
        """Upload an image, a video or a document for a template's header or an answer; kept by WhatsApp 30 days."""
        sender = await senders.get(session, data.sender_id)
        folder = parts.settings.data_dir / "media" / str(uuid4())
        folder.mkdir(parents=True)
        path = folder / _file_name(data.file.filename)
        try:
            with path.open("wb") as target:
                while chunk := await data.file.read(1 << 20):
                    target.write(chunk)
            made = await media.add(
                session, parts.whatsapp, sender, path=path, mime_type=data.file.content_type, now=now
            )
        except (AppError, OSError):
            shutil.rmtree(folder)
            raise
        await people.note(session, request.user, "media.uploaded", "media", made.id)
        return MediaOut.of(made)
