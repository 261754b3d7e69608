-- Grain: one fact about a message, with what only its neighbours tell: is the click a robot's, did it come out of order.
-- A click is a robot's when it was flagged on arrival (link previews, security crawlers), or when it came within one
-- second of the delivery receipt and the person never showed up otherwise: no read, no reply.
WITH neighbours AS (
    SELECT
        message_id,
        min(occurred_at) FILTER (WHERE kind = 'delivered') AS receipt_at,
        count(*) FILTER (WHERE kind IN ('read', 'played', 'reply')) > 0 AS person_seen
    FROM stg_event
    GROUP BY message_id
)
SELECT
    e.message_id, e.kind, e.occurred_at, e.received_at, e.event_key, e.error_code, e.reason, e.button_index, e.pricing_type,
    e.billable, e.cost_micros, e.copies,
    e.kind = 'click' AND (
        coalesce(e.is_bot, false)
        OR coalesce(
            NOT n.person_seen
            AND e.occurred_at >= n.receipt_at
            AND e.occurred_at < n.receipt_at + INTERVAL 1 SECOND,
            false
        )
    ) AS robot,
    coalesce(
        e.occurred_at < max(e.occurred_at) OVER (
            PARTITION BY e.message_id ORDER BY e.received_at, e.occurred_at, e.event_key
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ),
        false
    ) AS out_of_order
FROM stg_event AS e
JOIN neighbours AS n ON n.message_id = e.message_id
