-- Grain: one credited message whose reply was followed by conversation messages within 24 hours: what those cost.
-- A conversation message is charged to the latest reply before it, and only once.
WITH answers AS (
    SELECT
        r.message_id AS answer_id,
        arg_max(t.message_id, (t.touch_at, t.message_id)) AS message_id,
        any_value(coalesce(r.reported_cost_micros, CASE WHEN r.billable THEN p.price_micros END, 0)) AS cost_micros
    FROM fct_message AS r
    CROSS JOIN run
    JOIN fct_touch AS t
        ON t.contact_id = r.contact_id
        AND t.touch_kind = 'reply'
        AND r.queued_at >= t.touch_at
        AND r.queued_at <= t.touch_at + INTERVAL 24 HOUR
    LEFT JOIN dim_price AS p
        ON p.market = r.country
        AND p.category = r.category
        AND p.currency = run.currency
        AND p.effective_from <= r.delivered_at::DATE
        AND p.effective_until > r.delivered_at::DATE
    WHERE r.kind = 'reply' AND r.delivered
    GROUP BY r.message_id
)
SELECT message_id, sum(cost_micros)::BIGINT AS follow_up_micros
FROM answers
GROUP BY message_id
