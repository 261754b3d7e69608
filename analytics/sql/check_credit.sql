-- Grain: one order and model whose credit, revenue or refund does not add up; nothing when all is well.
SELECT c.order_id, c.model, sum(c.credit_micros) AS credit_micros
FROM credited AS c
JOIN stg_conversion AS o ON o.order_id = c.order_id AND o.kind = 'order'
GROUP BY c.order_id, c.model
HAVING sum(c.credit_micros) NOT IN (0, 1000000) OR sum(c.gross_micros) <> max(o.amount_micros)
