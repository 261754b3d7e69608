-- Grain: one order × attribution model × credited message; message null: the model credits nobody.
-- Credit is in micros and adds up to 0 or 1,000,000 per order and model; a refund follows the credit of its order.
WITH lookback (touch_kind, priority, reach) AS (
    VALUES ('click', 1, INTERVAL 5 DAY), ('reply', 2, INTERVAL 3 DAY), ('read', 3, INTERVAL 24 HOUR)
),
refunded AS (
    SELECT order_id, sum(abs(amount_micros))::BIGINT AS refund_micros
    FROM stg_conversion
    WHERE kind = 'refund'
    GROUP BY order_id
),
orders AS (
    SELECT
        o.order_id, o.contact_id, o.converted_on, o.occurred_at AS converted_at, o.currency, o.amount_micros,
        coalesce(r.refund_micros, 0) AS refund_micros
    FROM stg_conversion AS o
    LEFT JOIN refunded AS r ON r.order_id = o.order_id
    WHERE o.kind = 'order'
),
eligible AS (
    SELECT
        o.order_id, o.amount_micros, o.refund_micros, t.message_id, t.campaign_id, t.variant_id, t.touch_kind,
        t.touch_at,
        row_number() OVER (
            PARTITION BY o.order_id ORDER BY t.touch_at DESC, l.priority, t.message_id DESC
        ) AS from_last,
        row_number() OVER (PARTITION BY o.order_id ORDER BY t.touch_at, l.priority, t.message_id) AS from_first,
        row_number() OVER (
            PARTITION BY o.order_id
            ORDER BY CASE WHEN t.touch_kind = 'read' THEN 1 ELSE 0 END, t.touch_at DESC, l.priority, t.message_id DESC
        ) AS from_last_action,
        count(*) OVER (PARTITION BY o.order_id) AS touches
    FROM orders AS o
    JOIN fct_touch AS t ON t.contact_id = o.contact_id
    JOIN lookback AS l ON l.touch_kind = t.touch_kind
    WHERE t.touch_at <= o.converted_at AND o.converted_at <= t.touch_at + l.reach
),
credited AS (
    SELECT
        'last_touch' AS model, order_id, message_id, campaign_id, variant_id, touch_kind, touch_at,
        1000000 AS credit_micros, amount_micros AS gross_micros, refund_micros
    FROM eligible
    WHERE from_last = 1
    UNION ALL
    SELECT
        'click_priority', order_id, message_id, campaign_id, variant_id, touch_kind, touch_at,
        1000000, amount_micros, refund_micros
    FROM eligible
    WHERE from_last_action = 1
    UNION ALL
    SELECT
        'first_touch', order_id, message_id, campaign_id, variant_id, touch_kind, touch_at,
        1000000, amount_micros, refund_micros
    FROM eligible
    WHERE from_first = 1
    UNION ALL
    SELECT
        'linear', order_id, message_id, min(campaign_id), min(variant_id), arg_min(touch_kind, from_last),
        max(touch_at),
        sum(1000000 // touches + CASE WHEN from_last = 1 THEN 1000000 % touches ELSE 0 END)::BIGINT,
        sum(amount_micros // touches + CASE WHEN from_last = 1 THEN amount_micros % touches ELSE 0 END)::BIGINT,
        sum(refund_micros // touches + CASE WHEN from_last = 1 THEN refund_micros % touches ELSE 0 END)::BIGINT
    FROM eligible
    GROUP BY order_id, message_id
),
models (model) AS (
    VALUES ('last_touch'), ('click_priority'), ('first_touch'), ('linear'), ('none')
)
SELECT
    m.model, o.order_id, o.contact_id, o.converted_on, o.converted_at, o.currency,
    c.message_id, c.campaign_id, c.variant_id, c.touch_kind, c.touch_at,
    date_diff('second', c.touch_at, o.converted_at) AS lag_s,
    coalesce(c.credit_micros, 0)::BIGINT AS credit_micros,
    coalesce(c.gross_micros, o.amount_micros)::BIGINT AS gross_micros,
    coalesce(c.refund_micros, o.refund_micros)::BIGINT AS refund_micros
FROM orders AS o
CROSS JOIN models AS m
LEFT JOIN credited AS c ON c.order_id = o.order_id AND c.model = m.model
