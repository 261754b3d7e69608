-- Grain: one message row, holdout members, tests and replies included, as exported.
SELECT
    message_id, kind, campaign_id, variant_id, template_version_id, contact_id, sender_id, purpose, category,
    country, time_zone, holdout, queued_at, queued_on, received_at
FROM (
    SELECT *, row_number() OVER (PARTITION BY message_id ORDER BY received_at) AS copy
    FROM bronze_message
    WHERE received_at <= (SELECT as_of FROM run)
) AS numbered
WHERE copy = 1
