"""first schema"""

import sqlalchemy as sa
from alembic import op

from core.models.base import Xid8
from sqlalchemy.dialects import postgresql

revision = '0001'
down_revision = None


def upgrade() -> None:
    op.create_table('audit_log',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('actor_id', sa.Uuid(), nullable=True),
    sa.Column('actor', sa.Text(), nullable=False),
    sa.Column('action', sa.Text(), nullable=False),
    sa.Column('object_kind', sa.Text(), nullable=False),
    sa.Column('object_id', sa.Text(), nullable=True),
    sa.Column('address', sa.Text(), nullable=True),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('facts', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_audit_log'))
    )
    op.create_index(op.f('ix_audit_log_created_at'), 'audit_log', ['created_at'], unique=False)
    op.create_index(op.f('ix_audit_log_object_kind_object_id'), 'audit_log', ['object_kind', 'object_id'], unique=False)
    op.create_table('consent_chain',
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('installation_id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('seq', sa.BigInteger(), nullable=False),
    sa.Column('leaf_hash', sa.Text(), nullable=False),
    sa.Column('recorded_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_consent_chain'))
    )
    op.create_table('consent_checkpoints',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('root', sa.Text(), nullable=False),
    sa.Column('note', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_consent_checkpoints')),
    sa.UniqueConstraint('size', name=op.f('uq_consent_checkpoints_size'))
    )
    op.create_table('consent_events',
    sa.Column('seq', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('core', sa.Text(), nullable=False),
    sa.Column('leaf_hash', sa.Text(), nullable=False),
    sa.Column('xid', Xid8(), server_default=sa.text('pg_current_xact_id()'), nullable=False),
    sa.Column('event_id', sa.Uuid(), sa.Computed("((core::jsonb)->>'event_id')::uuid", persisted=True), nullable=False),
    sa.Column('event_type', sa.Text(), sa.Computed("((core::jsonb)->>'event_type')", persisted=True), nullable=False),
    sa.Column('subject_id', sa.Uuid(), sa.Computed("((core::jsonb)->>'subject_id')::uuid", persisted=True), nullable=True),
    sa.Column('purpose', sa.Text(), sa.Computed("((core::jsonb)->>'purpose')", persisted=True), nullable=False),
    sa.Column('controller', sa.Text(), sa.Computed("((core::jsonb)->>'controller_id')", persisted=True), nullable=False),
    sa.Column('grade', sa.Text(), sa.Computed("((core::jsonb)->>'grade')", persisted=True), nullable=True),
    sa.Column('method', sa.Text(), sa.Computed("((core::jsonb)->>'method')", persisted=True), nullable=True),
    sa.Column('next_state', sa.Text(), sa.Computed("((core::jsonb)->>'next_state')", persisted=True), nullable=True),
    sa.Column('reason', sa.Text(), sa.Computed("((core::jsonb)->>'reason')", persisted=True), nullable=True),
    sa.Column('expires_at', sa.Text(), sa.Computed("((core::jsonb)->>'expires_at')", persisted=True), nullable=True),
    sa.Column('recorded_at', sa.Text(), sa.Computed("((core::jsonb)->>'recorded_at')", persisted=True), nullable=False),
    sa.Column('source_event_ref', sa.Text(), sa.Computed("((core::jsonb)->>'source_event_ref')", persisted=True), nullable=False),
    sa.PrimaryKeyConstraint('seq', name=op.f('pk_consent_events')),
    sa.UniqueConstraint('event_id', name=op.f('uq_consent_events_event_id')),
    sa.UniqueConstraint('source_event_ref', name=op.f('uq_consent_events_source_event_ref'))
    )
    op.create_index('ix_consent_events_subject', 'consent_events', ['subject_id', sa.literal_column('seq DESC')], unique=False)
    op.create_index(op.f('ix_consent_events_xid'), 'consent_events', ['xid'], unique=False)
    op.create_table('idempotency_keys',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('scope', sa.Text(), nullable=False),
    sa.Column('request_hash', sa.Text(), nullable=False),
    sa.Column('status', sa.BigInteger(), nullable=False),
    sa.Column('body', sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_idempotency_keys')),
    sa.UniqueConstraint('scope', name=op.f('uq_idempotency_keys_scope'))
    )
    op.create_table('lake_head',
    sa.Column('lake', sa.Text(), nullable=False),
    sa.Column('version', sa.BigInteger(), nullable=False),
    sa.Column('manifest', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('lake', name=op.f('pk_lake_head'))
    )
    op.create_table('message_events',
    sa.Column('id', sa.BigInteger(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.Column('xid', Xid8(), server_default=sa.text('pg_current_xact_id()'), nullable=False),
    sa.Column('message_id', sa.Uuid(), nullable=False),
    sa.Column('queued_on', sa.Date(), nullable=False),
    sa.Column('kind', sa.Enum('accepted', 'held', 'sent', 'delivered', 'read', 'failed', 'rejected', 'played', 'suppressed', 'deleted', 'click', 'reply', 'opt_out', name='eventkind', native_enum=False, create_constraint=True, length=24), nullable=False),
    sa.Column('occurred_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('event_key', sa.Uuid(), nullable=False),
    sa.Column('error_code', sa.BigInteger(), nullable=True),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('button_index', sa.SmallInteger(), nullable=True),
    sa.Column('is_bot', sa.Boolean(), nullable=True),
    sa.Column('pricing_type', sa.Text(), nullable=True),
    sa.Column('billable', sa.Boolean(), nullable=True),
    sa.Column('cost_micros', sa.BigInteger(), nullable=True),
    sa.Column('attempt', sa.SmallInteger(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_message_events')),
    sa.UniqueConstraint('event_key', name=op.f('uq_message_events_event_key'))
    )
    op.create_index(op.f('ix_message_events_message_id'), 'message_events', ['message_id'], unique=False)
    op.create_index(op.f('ix_message_events_xid'), 'message_events', ['xid'], unique=False)
    op.create_table('parked_statuses',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('wamid', sa.Text(), nullable=False),
    sa.Column('status', sa.Text(), nullable=False),
    sa.Column('report', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_parked_statuses')),
    sa.UniqueConstraint('wamid', 'status', name=op.f('uq_parked_statuses_wamid_status'))
    )
    op.create_table('purposes',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('code', sa.Text(), nullable=False),
    sa.Column('version', sa.BigInteger(), nullable=False),
    sa.Column('controller', sa.Text(), nullable=False),
    sa.Column('description', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('min_grade', sa.Text(), nullable=False),
    sa.Column('validity_days', sa.BigInteger(), nullable=False),
    sa.Column('needs_consent', sa.Boolean(), nullable=False),
    sa.Column('halted', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('retired_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_purposes')),
    sa.UniqueConstraint('code', 'version', name=op.f('uq_purposes_code_version'))
    )
    op.create_table('rates',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('market', sa.Text(), nullable=False),
    sa.Column('category', sa.Enum('marketing', 'utility', 'authentication', 'service', name='category', native_enum=False, create_constraint=True, length=24), nullable=False),
    sa.Column('currency', sa.Text(), nullable=False),
    sa.Column('price_micros', sa.BigInteger(), nullable=False),
    sa.Column('effective_from', sa.Date(), nullable=False),
    sa.Column('source', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_rates')),
    sa.UniqueConstraint('market', 'category', 'currency', 'effective_from', name=op.f('uq_rates_market_category_currency_effective_from'))
    )
    op.create_table('senders',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('phone_number_id', sa.Text(), nullable=False),
    sa.Column('waba_id', sa.Text(), nullable=False),
    sa.Column('display_number', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('quality', sa.Text(), server_default=sa.text("'UNKNOWN'"), nullable=False),
    sa.Column('limit_tier', sa.Text(), nullable=True),
    sa.Column('messages_per_second', sa.BigInteger(), server_default=sa.text('80'), nullable=False),
    sa.Column('paused_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('pause_reason', sa.Text(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_senders')),
    sa.UniqueConstraint('phone_number_id', name=op.f('uq_senders_phone_number_id'))
    )
    op.create_table('suppressions',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('ref', sa.Text(), nullable=False),
    sa.Column('key_version', sa.BigInteger(), nullable=False),
    sa.Column('scope', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('created_seq', sa.BigInteger(), nullable=True),
    sa.Column('lifted_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('lifted_seq', sa.BigInteger(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_suppressions'))
    )
    op.create_index('uq_suppressions_live', 'suppressions', ['ref', 'scope'], unique=True, postgresql_where=sa.text('lifted_at IS NULL'))
    op.create_table('users',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('email', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('role', sa.Enum('admin', 'marketer', 'approver', 'analyst', 'compliance', 'auditor', name='role', native_enum=False, create_constraint=True, length=24), nullable=False),
    sa.Column('password_hash', sa.Text(), nullable=False),
    sa.Column('disabled_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_users')),
    sa.UniqueConstraint('email', name=op.f('uq_users_email'))
    )
    op.create_table('webhook_events',
    sa.Column('id', sa.BigInteger(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.Column('xid', Xid8(), server_default=sa.text('pg_current_xact_id()'), nullable=False),
    sa.Column('body', sa.LargeBinary(), nullable=False),
    sa.Column('status', sa.Enum('waiting', 'recorded', 'set_aside', name='webhookstatus', native_enum=False, create_constraint=True, length=24), nullable=False),
    sa.Column('error', sa.Text(), nullable=True),
    sa.Column('recorded_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_webhook_events'))
    )
    op.create_index('ix_webhook_events_waiting', 'webhook_events', ['id'], unique=False, postgresql_where=sa.text("status = 'waiting'"))
    op.create_index(op.f('ix_webhook_events_xid'), 'webhook_events', ['xid'], unique=False)
    op.create_table('webhook_fields',
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('known', sa.Boolean(), nullable=False),
    sa.Column('count', sa.BigInteger(), nullable=False),
    sa.Column('first_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('last_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_webhook_fields'))
    )
    op.create_table('api_keys',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('prefix', sa.Text(), nullable=False),
    sa.Column('key_hash', sa.Text(), nullable=False),
    sa.Column('role', sa.Enum('admin', 'marketer', 'approver', 'analyst', 'compliance', 'auditor', name='role', native_enum=False, create_constraint=True, length=24), nullable=False),
    sa.Column('created_by', sa.Uuid(), nullable=True),
    sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['created_by'], ['users.id'], name=op.f('fk_api_keys_created_by')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_api_keys')),
    sa.UniqueConstraint('key_hash', name=op.f('uq_api_keys_key_hash'))
    )
    op.create_table('audiences',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('kind', sa.Enum('static', 'rule', name='audiencekind', native_enum=False, create_constraint=True, length=24), nullable=False),
    sa.Column('rule', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('created_by', sa.Uuid(), nullable=True),
    sa.ForeignKeyConstraint(['created_by'], ['users.id'], name=op.f('fk_audiences_created_by')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_audiences')),
    sa.UniqueConstraint('name', name=op.f('uq_audiences_name'))
    )
    op.create_table('consent_evidence',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('event_id', sa.Uuid(), nullable=False),
    sa.Column('contact_id', sa.Uuid(), nullable=False),
    sa.Column('salt', sa.LargeBinary(), nullable=False),
    sa.Column('payload', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['event_id'], ['consent_events.event_id'], name=op.f('fk_consent_evidence_event_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_consent_evidence')),
    sa.UniqueConstraint('event_id', name=op.f('uq_consent_evidence_event_id'))
    )
    op.create_index(op.f('ix_consent_evidence_contact_id'), 'consent_evidence', ['contact_id'], unique=False)
    op.create_table('exports',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('status', sa.Enum('waiting', 'running', 'done', 'failed', 'cancelled', name='workstatus', native_enum=False, create_constraint=True, length=24), nullable=False),
    sa.Column('filters', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('path', sa.Text(), nullable=True),
    sa.Column('sha256', sa.Text(), nullable=True),
    sa.Column('bytes', sa.BigInteger(), nullable=True),
    sa.Column('facts', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('error', sa.Text(), nullable=True),
    sa.Column('created_by', sa.Uuid(), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['created_by'], ['users.id'], name=op.f('fk_exports_created_by')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_exports'))
    )
    op.create_table('imports',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('filename', sa.Text(), nullable=False),
    sa.Column('path', sa.Text(), nullable=False),
    sa.Column('sha256', sa.Text(), nullable=False),
    sa.Column('bytes', sa.BigInteger(), nullable=False),
    sa.Column('status', sa.Enum('waiting', 'running', 'done', 'failed', 'cancelled', name='workstatus', native_enum=False, create_constraint=True, length=24), nullable=False),
    sa.Column('options', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('error', sa.Text(), nullable=True),
    sa.Column('rows_total', sa.BigInteger(), nullable=True),
    sa.Column('rows_done', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('verdicts', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('created_by', sa.Uuid(), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['created_by'], ['users.id'], name=op.f('fk_imports_created_by')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_imports'))
    )
    op.create_table('media',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('sender_id', sa.Uuid(), nullable=False),
    sa.Column('provider_id', sa.Text(), nullable=False),
    sa.Column('filename', sa.Text(), nullable=False),
    sa.Column('mime_type', sa.Text(), nullable=False),
    sa.Column('bytes', sa.BigInteger(), nullable=False),
    sa.Column('sha256', sa.Text(), nullable=False),
    sa.Column('path', sa.Text(), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['sender_id'], ['senders.id'], name=op.f('fk_media_sender_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_media'))
    )
    op.create_table('notices',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('code', sa.Text(), nullable=False),
    sa.Column('version', sa.BigInteger(), nullable=False),
    sa.Column('language', sa.Text(), nullable=False),
    sa.Column('controller', sa.Text(), nullable=False),
    sa.Column('purposes', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('text', sa.Text(), nullable=False),
    sa.Column('withdrawal_info', sa.Text(), nullable=False),
    sa.Column('content_hash', sa.Text(), nullable=False),
    sa.Column('effective_from', sa.DateTime(timezone=True), nullable=False),
    sa.Column('effective_to', sa.DateTime(timezone=True), nullable=True),
    sa.Column('published_by', sa.Uuid(), nullable=True),
    sa.ForeignKeyConstraint(['published_by'], ['users.id'], name=op.f('fk_notices_published_by')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_notices')),
    sa.UniqueConstraint('code', 'version', 'language', name=op.f('uq_notices_code_version_language'))
    )
    op.create_table('sessions',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('user_id', sa.Uuid(), nullable=False),
    sa.Column('token_hash', sa.Text(), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_sessions_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_sessions')),
    sa.UniqueConstraint('token_hash', name=op.f('uq_sessions_token_hash'))
    )
    op.create_index(op.f('ix_sessions_user_id'), 'sessions', ['user_id'], unique=False)
    op.create_table('templates',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('waba_id', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('language', sa.Text(), nullable=False),
    sa.Column('purpose', sa.Text(), nullable=False),
    sa.Column('category', sa.Enum('marketing', 'utility', 'authentication', 'service', name='category', native_enum=False, create_constraint=True, length=24), nullable=False),
    sa.Column('status', sa.Enum('draft', 'pending', 'approved', 'rejected', 'paused', 'disabled', 'in_appeal', 'pending_deletion', 'deleted', 'archived', 'limit_exceeded', 'flagged', 'locked', name='templatestatus', native_enum=False, create_constraint=True, length=24), nullable=False),
    sa.Column('status_reason', sa.Text(), nullable=True),
    sa.Column('quality', sa.Text(), nullable=True),
    sa.Column('provider_id', sa.Text(), nullable=True),
    sa.Column('created_by', sa.Uuid(), nullable=True),
    sa.ForeignKeyConstraint(['created_by'], ['users.id'], name=op.f('fk_templates_created_by')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_templates')),
    sa.UniqueConstraint('provider_id', name=op.f('uq_templates_provider_id')),
    sa.UniqueConstraint('waba_id', 'name', 'language', name=op.f('uq_templates_waba_id_name_language'))
    )
    op.create_table('campaigns',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('status', sa.Enum('draft', 'in_review', 'scheduled', 'expanding', 'sending', 'paused', 'cancelled', 'completed', name='campaignstatus', native_enum=False, create_constraint=True, length=24), nullable=False),
    sa.Column('purpose', sa.Text(), nullable=False),
    sa.Column('sender_id', sa.Uuid(), nullable=False),
    sa.Column('audience_id', sa.Uuid(), nullable=False),
    sa.Column('holdout_bp', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('messages_per_minute', sa.BigInteger(), nullable=True),
    sa.Column('send_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('quiet_from', sa.Time(), nullable=True),
    sa.Column('quiet_until', sa.Time(), nullable=True),
    sa.Column('fingerprint', sa.Text(), nullable=True),
    sa.Column('review', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('reviewed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_by', sa.Uuid(), nullable=True),
    sa.Column('approved_by', sa.Uuid(), nullable=True),
    sa.Column('launched_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('expanded_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('expand_cursor', sa.Uuid(), nullable=True),
    sa.Column('paused_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('pause_reason', sa.Text(), nullable=True),
    sa.Column('cancelled_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint('holdout_bp BETWEEN 0 AND 5000', name=op.f('ck_campaigns_holdout')),
    sa.CheckConstraint('messages_per_minute IS NULL OR messages_per_minute > 0', name=op.f('ck_campaigns_pace')),
    sa.ForeignKeyConstraint(['approved_by'], ['users.id'], name=op.f('fk_campaigns_approved_by')),
    sa.ForeignKeyConstraint(['audience_id'], ['audiences.id'], name=op.f('fk_campaigns_audience_id')),
    sa.ForeignKeyConstraint(['created_by'], ['users.id'], name=op.f('fk_campaigns_created_by')),
    sa.ForeignKeyConstraint(['sender_id'], ['senders.id'], name=op.f('fk_campaigns_sender_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_campaigns'))
    )
    op.create_index(op.f('ix_campaigns_sender_id'), 'campaigns', ['sender_id'], unique=False)
    op.create_table('contacts',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('name', sa.Text(), nullable=True),
    sa.Column('language', sa.Text(), nullable=True),
    sa.Column('time_zone', sa.Text(), nullable=True),
    sa.Column('country', sa.Text(), nullable=True),
    sa.Column('attributes', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('import_id', sa.Uuid(), nullable=True),
    sa.Column('consent_version', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('first_seen_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('last_seen_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('closed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('erased_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['import_id'], ['imports.id'], name=op.f('fk_contacts_import_id'), ondelete='SET NULL'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_contacts'))
    )
    op.create_index('ix_contacts_attributes', 'contacts', ['attributes'], unique=False, postgresql_using='gin')
    op.create_index(op.f('ix_contacts_country'), 'contacts', ['country'], unique=False)
    op.create_index(op.f('ix_contacts_import_id'), 'contacts', ['import_id'], unique=False)
    op.create_table('import_rows',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('import_id', sa.Uuid(), nullable=False),
    sa.Column('row_number', sa.BigInteger(), nullable=False),
    sa.Column('verdict', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('contact_id', sa.Uuid(), nullable=True),
    sa.Column('raw', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.ForeignKeyConstraint(['import_id'], ['imports.id'], name=op.f('fk_import_rows_import_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_import_rows')),
    sa.UniqueConstraint('import_id', 'row_number', name=op.f('uq_import_rows_import_id_row_number'))
    )
    op.create_table('template_versions',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('template_id', sa.Uuid(), nullable=False),
    sa.Column('version', sa.BigInteger(), nullable=False),
    sa.Column('parameter_format', sa.Text(), nullable=False),
    sa.Column('components', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.ForeignKeyConstraint(['template_id'], ['templates.id'], name=op.f('fk_template_versions_template_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_template_versions')),
    sa.UniqueConstraint('template_id', 'version', name=op.f('uq_template_versions_template_id_version'))
    )
    op.create_table('audience_members',
    sa.Column('audience_id', sa.Uuid(), nullable=False),
    sa.Column('contact_id', sa.Uuid(), nullable=False),
    sa.Column('import_id', sa.Uuid(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['audience_id'], ['audiences.id'], name=op.f('fk_audience_members_audience_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['contact_id'], ['contacts.id'], name=op.f('fk_audience_members_contact_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['import_id'], ['imports.id'], name=op.f('fk_audience_members_import_id'), ondelete='SET NULL'),
    sa.PrimaryKeyConstraint('audience_id', 'contact_id', name=op.f('pk_audience_members'))
    )
    op.create_index(op.f('ix_audience_members_contact_id'), 'audience_members', ['contact_id'], unique=False)
    op.create_index(op.f('ix_audience_members_import_id'), 'audience_members', ['import_id'], unique=False)
    op.create_table('campaign_variants',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('campaign_id', sa.Uuid(), nullable=False),
    sa.Column('label', sa.Text(), nullable=False),
    sa.Column('weight', sa.BigInteger(), nullable=False),
    sa.Column('template_version_id', sa.Uuid(), nullable=False),
    sa.Column('parameters', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.CheckConstraint('weight > 0', name=op.f('ck_campaign_variants_weight')),
    sa.ForeignKeyConstraint(['campaign_id'], ['campaigns.id'], name=op.f('fk_campaign_variants_campaign_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['template_version_id'], ['template_versions.id'], name=op.f('fk_campaign_variants_template_version_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_campaign_variants')),
    sa.UniqueConstraint('campaign_id', 'label', name=op.f('uq_campaign_variants_campaign_id_label'))
    )
    op.create_table('consent_state',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('contact_id', sa.Uuid(), nullable=False),
    sa.Column('purpose', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('grade', sa.Text(), nullable=True),
    sa.Column('grant_seq', sa.BigInteger(), nullable=True),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('overlays', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
    sa.Column('head_seq', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['contact_id'], ['contacts.id'], name=op.f('fk_consent_state_contact_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_consent_state')),
    sa.UniqueConstraint('contact_id', 'purpose', name=op.f('uq_consent_state_contact_id_purpose'))
    )
    op.create_index(op.f('ix_consent_state_purpose_state'), 'consent_state', ['purpose', 'state'], unique=False)
    op.create_table('contact_addresses',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('contact_id', sa.Uuid(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('value', sa.Text(), nullable=False),
    sa.Column('match_key', sa.Text(), nullable=False),
    sa.Column('closed_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['contact_id'], ['contacts.id'], name=op.f('fk_contact_addresses_contact_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_contact_addresses'))
    )
    op.create_index(op.f('ix_contact_addresses_contact_id'), 'contact_addresses', ['contact_id'], unique=False)
    op.create_index('uq_contact_addresses_open', 'contact_addresses', ['match_key'], unique=True, postgresql_where=sa.text('closed_at IS NULL'))
    op.create_table('conversions',
    sa.Column('id', sa.BigInteger(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.Column('xid', Xid8(), server_default=sa.text('pg_current_xact_id()'), nullable=False),
    sa.Column('kind', sa.Enum('order', 'refund', name='conversionkind', native_enum=False, create_constraint=True, length=24), nullable=False),
    sa.Column('order_id', sa.Text(), nullable=False),
    sa.Column('refund_id', sa.Text(), nullable=True),
    sa.Column('contact_id', sa.Uuid(), nullable=True),
    sa.Column('occurred_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('amount_micros', sa.BigInteger(), nullable=False),
    sa.Column('currency', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['contact_id'], ['contacts.id'], name=op.f('fk_conversions_contact_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_conversions')),
    sa.UniqueConstraint('kind', 'order_id', 'refund_id', name=op.f('uq_conversions_kind_order_id_refund_id'), postgresql_nulls_not_distinct=True)
    )
    op.create_index(op.f('ix_conversions_contact_id'), 'conversions', ['contact_id'], unique=False)
    op.create_index(op.f('ix_conversions_xid'), 'conversions', ['xid'], unique=False)
    op.create_table('inbound_messages',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('provider_id', sa.Text(), nullable=False),
    sa.Column('contact_id', sa.Uuid(), nullable=False),
    sa.Column('sender_id', sa.Uuid(), nullable=True),
    sa.Column('message_id', sa.Uuid(), nullable=True),
    sa.Column('type', sa.Text(), nullable=False),
    sa.Column('intent', sa.Enum('reply', 'opt_out', 'opt_in', 'help', 'ambiguous', name='inboundintent', native_enum=False, create_constraint=True, length=24), nullable=False),
    sa.Column('text', sa.Text(), nullable=True),
    sa.Column('payload', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('occurred_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['contact_id'], ['contacts.id'], name=op.f('fk_inbound_messages_contact_id')),
    sa.ForeignKeyConstraint(['sender_id'], ['senders.id'], name=op.f('fk_inbound_messages_sender_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_inbound_messages')),
    sa.UniqueConstraint('provider_id', name=op.f('uq_inbound_messages_provider_id'))
    )
    op.create_index(op.f('ix_inbound_messages_contact_id_occurred_at'), 'inbound_messages', ['contact_id', 'occurred_at'], unique=False)
    op.create_table('pending_withdrawals',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('contact_id', sa.Uuid(), nullable=False),
    sa.Column('request', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.ForeignKeyConstraint(['contact_id'], ['contacts.id'], name=op.f('fk_pending_withdrawals_contact_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_pending_withdrawals'))
    )
    op.create_index(op.f('ix_pending_withdrawals_contact_id'), 'pending_withdrawals', ['contact_id'], unique=False)
    op.create_table('messages',
    sa.Column('id', sa.Uuid(), server_default=sa.text('uuidv7()'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('kind', sa.Enum('campaign', 'test', 'triggered', 'reply', name='messagekind', native_enum=False, create_constraint=True, length=24), nullable=False),
    sa.Column('priority', sa.SmallInteger(), nullable=False),
    sa.Column('campaign_id', sa.Uuid(), nullable=True),
    sa.Column('variant_id', sa.Uuid(), nullable=True),
    sa.Column('contact_id', sa.Uuid(), nullable=False),
    sa.Column('sender_id', sa.Uuid(), nullable=False),
    sa.Column('template_version_id', sa.Uuid(), nullable=True),
    sa.Column('purpose', sa.Text(), nullable=False),
    sa.Column('category', sa.Enum('marketing', 'utility', 'authentication', 'service', name='category', native_enum=False, create_constraint=True, length=24), nullable=False),
    sa.Column('parameters', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('country', sa.Text(), nullable=True),
    sa.Column('time_zone', sa.Text(), nullable=False),
    sa.Column('holdout', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('queued_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('queued_on', sa.Date(), nullable=False),
    sa.Column('created_xid', Xid8(), server_default=sa.text('pg_current_xact_id()'), nullable=False),
    sa.Column('status', sa.Enum('queued', 'sending', 'accepted', 'held', 'sent', 'delivered', 'read', 'failed', 'skipped', 'unknown', 'cancelled', name='deliverystatus', native_enum=False, create_constraint=True, length=24), nullable=False),
    sa.Column('skip_reason', sa.Enum('holdout', 'no_address', 'unknown_purpose', 'kill_switch', 'tenure_closed', 'suppressed', 'meta_stop', 'hold', 'no_consent', 'pending', 'withdrawn', 'invalid', 'expired', 'grade_too_low', 'unreachable', 'reaffirm_due', 'ledger_mismatch', 'window_closed', 'bad_parameters', 'country_paused', 'erased', name='skipreason', native_enum=False, create_constraint=True, length=24), nullable=True),
    sa.Column('not_before', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('attempt', sa.SmallInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('permit_seq', sa.BigInteger(), nullable=True),
    sa.Column('permit_head_seq', sa.BigInteger(), nullable=True),
    sa.Column('permitted_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('wamid', sa.Text(), nullable=True),
    sa.Column('error_code', sa.BigInteger(), nullable=True),
    sa.Column('error', sa.Text(), nullable=True),
    sa.Column('accepted_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('sent_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('delivered_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('read_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('failed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('pricing_type', sa.Text(), nullable=True),
    sa.Column('cost_micros', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['campaign_id'], ['campaigns.id'], name=op.f('fk_messages_campaign_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['contact_id'], ['contacts.id'], name=op.f('fk_messages_contact_id')),
    sa.ForeignKeyConstraint(['sender_id'], ['senders.id'], name=op.f('fk_messages_sender_id')),
    sa.ForeignKeyConstraint(['template_version_id'], ['template_versions.id'], name=op.f('fk_messages_template_version_id')),
    sa.ForeignKeyConstraint(['variant_id'], ['campaign_variants.id'], name=op.f('fk_messages_variant_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_messages')),
    sa.UniqueConstraint('campaign_id', 'contact_id', name=op.f('uq_messages_campaign_id_contact_id')),
    sa.UniqueConstraint('wamid', name=op.f('uq_messages_wamid'))
    )
    op.create_index('ix_messages_campaign_status', 'messages', ['campaign_id', 'status'], unique=False)
    op.create_index('ix_messages_contact', 'messages', ['contact_id', 'queued_at'], unique=False)
    op.create_index(op.f('ix_messages_created_xid'), 'messages', ['created_xid'], unique=False)
    op.create_index('ix_messages_lease', 'messages', ['lease_until'], unique=False, postgresql_where=sa.text("status = 'sending'"))
    op.create_index('ix_messages_queued', 'messages', ['sender_id', 'priority', 'not_before', 'id'], unique=False, postgresql_where=sa.text("status = 'queued'"))
    op.create_index('ix_messages_unknown', 'messages', ['campaign_id'], unique=False, postgresql_where=sa.text("status = 'unknown'"))
    op.create_table('links',
    sa.Column('code', sa.Text(), nullable=False),
    sa.Column('message_id', sa.Uuid(), nullable=False),
    sa.Column('button_index', sa.SmallInteger(), nullable=False),
    sa.Column('url', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['message_id'], ['messages.id'], name=op.f('fk_links_message_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('code', name=op.f('pk_links')),
    sa.UniqueConstraint('message_id', 'button_index', name=op.f('uq_links_message_id_button_index'))
    )
    op.create_table('link_hits',
    sa.Column('id', sa.BigInteger(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.Column('xid', Xid8(), server_default=sa.text('pg_current_xact_id()'), nullable=False),
    sa.Column('code', sa.Text(), nullable=False),
    sa.Column('method', sa.Text(), nullable=False),
    sa.Column('user_agent', sa.Text(), nullable=True),
    sa.Column('is_bot', sa.Boolean(), nullable=False),
    sa.ForeignKeyConstraint(['code'], ['links.code'], name=op.f('fk_link_hits_code'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_link_hits'))
    )
    op.create_index(op.f('ix_link_hits_code'), 'link_hits', ['code'], unique=False)
    op.create_index(op.f('ix_link_hits_xid'), 'link_hits', ['xid'], unique=False)


def downgrade() -> None:
    op.drop_index(op.f('ix_link_hits_xid'), table_name='link_hits')
    op.drop_index(op.f('ix_link_hits_code'), table_name='link_hits')
    op.drop_table('link_hits')
    op.drop_table('links')
    op.drop_index('ix_messages_unknown', table_name='messages', postgresql_where=sa.text("status = 'unknown'"))
    op.drop_index('ix_messages_queued', table_name='messages', postgresql_where=sa.text("status = 'queued'"))
    op.drop_index('ix_messages_lease', table_name='messages', postgresql_where=sa.text("status = 'sending'"))
    op.drop_index(op.f('ix_messages_created_xid'), table_name='messages')
    op.drop_index('ix_messages_contact', table_name='messages')
    op.drop_index('ix_messages_campaign_status', table_name='messages')
    op.drop_table('messages')
    op.drop_index(op.f('ix_pending_withdrawals_contact_id'), table_name='pending_withdrawals')
    op.drop_table('pending_withdrawals')
    op.drop_index(op.f('ix_inbound_messages_contact_id_occurred_at'), table_name='inbound_messages')
    op.drop_table('inbound_messages')
    op.drop_index(op.f('ix_conversions_xid'), table_name='conversions')
    op.drop_index(op.f('ix_conversions_contact_id'), table_name='conversions')
    op.drop_table('conversions')
    op.drop_index('uq_contact_addresses_open', table_name='contact_addresses', postgresql_where=sa.text('closed_at IS NULL'))
    op.drop_index(op.f('ix_contact_addresses_contact_id'), table_name='contact_addresses')
    op.drop_table('contact_addresses')
    op.drop_index(op.f('ix_consent_state_purpose_state'), table_name='consent_state')
    op.drop_table('consent_state')
    op.drop_table('campaign_variants')
    op.drop_index(op.f('ix_audience_members_import_id'), table_name='audience_members')
    op.drop_index(op.f('ix_audience_members_contact_id'), table_name='audience_members')
    op.drop_table('audience_members')
    op.drop_table('template_versions')
    op.drop_table('import_rows')
    op.drop_index(op.f('ix_contacts_import_id'), table_name='contacts')
    op.drop_index(op.f('ix_contacts_country'), table_name='contacts')
    op.drop_index('ix_contacts_attributes', table_name='contacts', postgresql_using='gin')
    op.drop_table('contacts')
    op.drop_index(op.f('ix_campaigns_sender_id'), table_name='campaigns')
    op.drop_table('campaigns')
    op.drop_table('templates')
    op.drop_index(op.f('ix_sessions_user_id'), table_name='sessions')
    op.drop_table('sessions')
    op.drop_table('notices')
    op.drop_table('media')
    op.drop_table('imports')
    op.drop_table('exports')
    op.drop_index(op.f('ix_consent_evidence_contact_id'), table_name='consent_evidence')
    op.drop_table('consent_evidence')
    op.drop_table('audiences')
    op.drop_table('api_keys')
    op.drop_table('webhook_fields')
    op.drop_index(op.f('ix_webhook_events_xid'), table_name='webhook_events')
    op.drop_index('ix_webhook_events_waiting', table_name='webhook_events', postgresql_where=sa.text("status = 'waiting'"))
    op.drop_table('webhook_events')
    op.drop_table('users')
    op.drop_index('uq_suppressions_live', table_name='suppressions', postgresql_where=sa.text('lifted_at IS NULL'))
    op.drop_table('suppressions')
    op.drop_table('senders')
    op.drop_table('rates')
    op.drop_table('purposes')
    op.drop_table('parked_statuses')
    op.drop_index(op.f('ix_message_events_xid'), table_name='message_events')
    op.drop_index(op.f('ix_message_events_message_id'), table_name='message_events')
    op.drop_table('message_events')
    op.drop_table('lake_head')
    op.drop_table('idempotency_keys')
    op.drop_index(op.f('ix_consent_events_xid'), table_name='consent_events')
    op.drop_index('ix_consent_events_subject', table_name='consent_events')
    op.drop_table('consent_events')
    op.drop_table('consent_checkpoints')
    op.drop_table('consent_chain')
    op.drop_index(op.f('ix_audit_log_object_kind_object_id'), table_name='audit_log')
    op.drop_index(op.f('ix_audit_log_created_at'), table_name='audit_log')
    op.drop_table('audit_log')
