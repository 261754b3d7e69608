-- Grain: one order, or one refund of an order, as first received.
SELECT kind, order_id, refund_id, contact_id, occurred_at, converted_on, received_at, amount_micros, currency
FROM (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY kind, order_id, coalesce(refund_id, '') ORDER BY received_at, occurred_at, amount_micros
        ) AS copy
    FROM bronze_conversion
    WHERE received_at <= (SELECT as_of FROM run)
) AS numbered
WHERE copy = 1
