-- Grain: one touch that may earn credit: each human click, each reply, and the first read of a delivered message.
-- Deliveries alone, robots' clicks and opt-outs earn none; nor do tests and replies in a conversation.
WITH candidate AS (
    SELECT message_id, 'click' AS touch_kind, occurred_at AS touch_at
    FROM fct_event
    WHERE kind = 'click' AND NOT robot
    UNION ALL
    SELECT message_id, 'reply' AS touch_kind, occurred_at AS touch_at
    FROM fct_event
    WHERE kind = 'reply'
    UNION ALL
    SELECT message_id, 'read' AS touch_kind, min(occurred_at) AS touch_at
    FROM fct_event
    WHERE kind IN ('read', 'played')
    GROUP BY message_id
)
SELECT m.contact_id, m.message_id, m.campaign_id, m.variant_id, m.queued_on, c.touch_kind, c.touch_at
FROM candidate AS c
JOIN fct_message AS m ON m.message_id = c.message_id
WHERE m.delivered AND m.kind IN ('campaign', 'triggered')
