"""Every table, so that importing this package makes the metadata complete."""

from core.models.audience import Audience, AudienceMember, ContactAction, ContactEvent
from core.models.base import Model
from core.models.campaign import Campaign, CampaignVariant
from core.models.consent import (
    ChainHead,
    Checkpoint,
    ConsentEvent,
    ConsentEvidence,
    ConsentState,
    Notice,
    PendingWithdrawal,
    Purpose,
    Suppression,
)
from core.models.contact import AttributeDefinition, Contact, ContactAddress
from core.models.conversation import Conversation, RoutingRule
from core.models.form import OptInForm, OptInRequest
from core.models.hook import Hook, HookCursor, HookDelivery, StatusChange
from core.models.link import Conversion, Link, LinkHit
from core.models.message import Message, MessageEvent, PersonReached, Rate
from core.models.oversight import Invalidation, LedgerAnchor, LedgerCheck, LedgerFork, RegistryDraft
from core.models.person import ApiKey, AuditEntry, IdempotencyKey, Session, User
from core.models.reply import Reply, ReplyText
from core.models.request import DataRequest, Erasure, SealedRecord
from core.models.sender import Sender
from core.models.source import InboundDelivery, InboundSource
from core.models.template import Media, Template, TemplateVersion
from core.models.webhook import (
    AccountEvent,
    InboundMessage,
    ParkedStatus,
    ReceivedFile,
    WebhookEvent,
    WebhookField,
)
from core.models.work import Export, Import, ImportChange, ImportRow, ImportSample, LakeHead

__all__ = [
    "AccountEvent",
    "ApiKey",
    "AttributeDefinition",
    "Audience",
    "AudienceMember",
    "AuditEntry",
    "Campaign",
    "CampaignVariant",
    "ChainHead",
    "Checkpoint",
    "ConsentEvent",
    "ConsentEvidence",
    "ConsentState",
    "Contact",
    "ContactAction",
    "ContactAddress",
    "ContactEvent",
    "Conversation",
    "Conversion",
    "DataRequest",
    "Erasure",
    "Export",
    "Hook",
    "HookCursor",
    "HookDelivery",
    "IdempotencyKey",
    "Import",
    "ImportChange",
    "ImportRow",
    "ImportSample",
    "InboundDelivery",
    "InboundMessage",
    "InboundSource",
    "Invalidation",
    "LakeHead",
    "LedgerAnchor",
    "LedgerCheck",
    "LedgerFork",
    "Link",
    "LinkHit",
    "Media",
    "Message",
    "MessageEvent",
    "Model",
    "Notice",
    "OptInForm",
    "OptInRequest",
    "ParkedStatus",
    "PendingWithdrawal",
    "PersonReached",
    "Purpose",
    "Rate",
    "ReceivedFile",
    "RegistryDraft",
    "Reply",
    "ReplyText",
    "RoutingRule",
    "SealedRecord",
    "Sender",
    "Session",
    "StatusChange",
    "Suppression",
    "Template",
    "TemplateVersion",
    "User",
    "WebhookEvent",
    "WebhookField",
]
