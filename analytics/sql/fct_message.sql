-- Grain: one message (every kind, holdout members included), its latest state: a closure over the set of its facts.
-- Only minima, sums over distinct facts and set membership, so order, lateness and repetition of webhooks change nothing.
WITH folded AS (
    SELECT
        message_id,
        min(occurred_at) FILTER (WHERE kind = 'suppressed') AS suppressed_at,
        -- a refused attempt that is tried again is no refusal of the message
        min(occurred_at) FILTER (WHERE kind = 'rejected' AND reason IS DISTINCT FROM 'retry') AS rejected_at,
        coalesce(
            min(occurred_at) FILTER (WHERE kind IN ('accepted', 'held')),
            min(occurred_at) FILTER (WHERE kind IN ('sent', 'delivered', 'read', 'played', 'failed', 'deleted'))
        ) AS accepted_at,
        min(occurred_at) FILTER (WHERE kind = 'sent') AS sent_at,
        min(occurred_at) FILTER (WHERE kind = 'delivered') AS receipt_at,
        min(occurred_at) FILTER (WHERE kind IN ('read', 'played')) AS read_at,
        min(occurred_at) FILTER (WHERE kind = 'failed') AS failed_at,
        min(occurred_at) FILTER (WHERE kind = 'click' AND NOT robot) AS clicked_at,
        min(occurred_at) FILTER (WHERE kind = 'reply') AS replied_at,
        min(occurred_at) FILTER (WHERE kind = 'opt_out') AS opted_out_at,
        arg_min(error_code, (occurred_at, event_key)) FILTER (WHERE kind = 'failed') AS failed_code,
        arg_min(error_code, (occurred_at, event_key))
            FILTER (WHERE kind = 'rejected' AND reason IS DISTINCT FROM 'retry') AS rejected_code,
        arg_min(reason, (occurred_at, event_key)) FILTER (WHERE kind = 'suppressed') AS skip_reason,
        count(*) FILTER (WHERE kind = 'click' AND NOT robot) AS clicks_total,
        count(DISTINCT coalesce(button_index, -1)) FILTER (WHERE kind = 'click' AND NOT robot) AS clicks_unique_button,
        count(*) FILTER (WHERE robot) AS bot_clicks,
        count(*) FILTER (WHERE kind = 'reply') AS replies_total,
        max(pricing_type) AS pricing_type,
        max(cost_micros) FILTER (WHERE coalesce(billable, true)) AS reported_cost_micros,
        coalesce(bool_or(billable), false) AS billable,
        coalesce(bool_or(NOT billable OR pricing_type IN ('free_entry_point', 'free_customer_service')), false) AS free,
        max(received_at) AS last_received_at,
        sum(copies - 1)::BIGINT AS n_dup,
        count(*) FILTER (WHERE out_of_order) AS n_out_of_order
    FROM fct_event
    GROUP BY message_id
),
sets AS (
    SELECT
        m.message_id,
        NOT m.holdout AS targeted,
        NOT m.holdout AND f.suppressed_at IS NULL AS attempted,
        NOT m.holdout AND f.suppressed_at IS NULL AND f.accepted_at IS NOT NULL AS accepted,
        least(f.receipt_at, f.read_at, f.clicked_at, f.replied_at) AS evidence_at
    FROM stg_message AS m
    LEFT JOIN folded AS f ON f.message_id = m.message_id
)
SELECT
    m.message_id, m.kind, m.campaign_id, m.variant_id, m.template_version_id, m.contact_id, m.sender_id, m.purpose,
    m.category, m.country, m.time_zone, m.holdout, m.queued_at, m.queued_on,
    f.suppressed_at, f.rejected_at, f.accepted_at, f.sent_at, f.read_at, f.failed_at, f.clicked_at, f.replied_at,
    f.opted_out_at,
    CASE WHEN s.accepted THEN s.evidence_at END AS delivered_at,
    CASE
        WHEN NOT s.accepted OR s.evidence_at IS NULL THEN NULL
        WHEN f.receipt_at IS NOT NULL THEN 'receipt'
        WHEN f.read_at IS NOT NULL THEN 'read'
        ELSE 'engagement'
    END AS delivered_evidence,
    s.targeted,
    s.targeted AND NOT s.attempted AS suppressed,
    s.attempted,
    s.attempted AND NOT s.accepted AND f.rejected_at IS NOT NULL AS rejected,
    s.attempted AND NOT s.accepted AND f.rejected_at IS NULL AS queued,
    s.accepted,
    s.accepted AND (f.sent_at IS NOT NULL OR s.evidence_at IS NOT NULL) AS sent,
    s.accepted AND s.evidence_at IS NOT NULL AS delivered,
    (s.attempted AND NOT s.accepted AND f.rejected_at IS NOT NULL)
    OR (s.accepted AND s.evidence_at IS NULL AND f.failed_at IS NOT NULL) AS failed,
    s.accepted AND s.evidence_at IS NULL AND f.failed_at IS NULL AS open,
    s.accepted AND f.read_at IS NOT NULL AS read,
    s.accepted AND f.clicked_at IS NOT NULL AS clicked,
    s.accepted AND f.replied_at IS NOT NULL AS replied,
    s.accepted AND s.evidence_at IS NOT NULL AND f.opted_out_at IS NOT NULL AS opted_out,
    CASE
        WHEN s.accepted AND s.evidence_at IS NULL THEN f.failed_code
        WHEN s.attempted AND NOT s.accepted THEN f.rejected_code
    END AS error_code,
    CASE WHEN m.holdout THEN 'holdout' WHEN s.targeted AND NOT s.attempted THEN f.skip_reason END AS skip_reason,
    CASE WHEN s.accepted THEN coalesce(f.clicks_total, 0) ELSE 0 END AS clicks_total,
    CASE WHEN s.accepted THEN coalesce(f.clicks_unique_button, 0) ELSE 0 END AS clicks_unique_button,
    coalesce(f.bot_clicks, 0) AS bot_clicks,
    CASE WHEN s.accepted THEN coalesce(f.replies_total, 0) ELSE 0 END AS replies_total,
    f.pricing_type,
    coalesce(f.billable, false) AS billable,
    coalesce(f.free, false) AS free,
    f.reported_cost_micros,
    f.last_received_at,
    coalesce(f.n_dup, 0) AS n_dup,
    coalesce(f.n_out_of_order, 0) AS n_out_of_order
FROM stg_message AS m
JOIN sets AS s ON s.message_id = m.message_id
LEFT JOIN folded AS f ON f.message_id = m.message_id
