-- Grain: nothing, or one row that says what does not add up in a folded partition.
-- |T| = |X| + |Q| + |J| + |F \ J| + |D| + |U|; clicks, replies, opt-outs, reads ⊆ D ⊆ S ⊆ K; one row per message.
SELECT *
FROM (
    SELECT
        count(*) AS messages,
        (SELECT count(*) FROM stg_message) AS expected,
        count(*) FILTER (WHERE targeted) AS targeted,
        count(*) FILTER (WHERE suppressed) AS suppressed,
        count(*) FILTER (WHERE queued) AS queued,
        count(*) FILTER (WHERE rejected) AS rejected,
        count(*) FILTER (WHERE failed AND NOT rejected) AS failed_later,
        count(*) FILTER (WHERE delivered) AS delivered,
        count(*) FILTER (WHERE open) AS still_open,
        count(*) FILTER (WHERE (clicked OR replied OR opted_out OR read) AND NOT delivered) AS engaged_undelivered,
        count(*) FILTER (WHERE (delivered AND NOT sent) OR (sent AND NOT accepted)) AS not_nested
    FROM fct_message
) AS counted
WHERE
    messages <> expected
    OR targeted <> suppressed + queued + rejected + failed_later + delivered + still_open
    OR engaged_undelivered > 0
    OR not_nested > 0
