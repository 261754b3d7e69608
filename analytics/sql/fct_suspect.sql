-- Grain: one contact who probably blocked us: reached before, then two or more accepted messages in a row without a
-- receipt for over 72 hours, and no sign of life since. The provider tells nobody about blocks; this is a proxy.
WITH sign_of_life AS (
    SELECT
        contact_id,
        max(greatest(delivered_at, read_at, clicked_at, replied_at, opted_out_at)) AS seen_at,
        max(accepted_at) AS reached_with
    FROM fct_message
    WHERE delivered AND kind <> 'test'
    GROUP BY contact_id
)
SELECT m.contact_id, count(*) AS unanswered
FROM fct_message AS m
JOIN sign_of_life AS s ON s.contact_id = m.contact_id
CROSS JOIN run
WHERE m.accepted AND m.kind <> 'test' AND m.accepted_at > s.reached_with AND m.accepted_at > s.seen_at
GROUP BY m.contact_id
HAVING
    count(*) FILTER (WHERE m.open AND m.accepted_at < run.now - INTERVAL 72 HOUR) >= 2
    AND count(*) FILTER (WHERE NOT m.open) = 0
