-- Grain: one fact about a message (event key), as first received; `copies` counts how often it came.
SELECT
    message_id, kind, occurred_at, received_at, event_key, error_code, reason, button_index, is_bot, pricing_type,
    billable, cost_micros, copies
FROM (
    SELECT
        *,
        row_number() OVER (PARTITION BY event_key ORDER BY received_at) AS copy,
        count(*) OVER (PARTITION BY event_key) AS copies
    FROM bronze_event
    WHERE received_at <= (SELECT as_of FROM run)
) AS numbered
WHERE copy = 1
