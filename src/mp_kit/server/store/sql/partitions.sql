-- name: crowded_months
-- Months of which many signals lie in the default partition.
SELECT date_trunc('month', event_time, 'UTC') AS month FROM signals_default
GROUP BY 1 HAVING count(*) >= :at_least ORDER BY 1 DESC LIMIT :months;

-- name: move_month
-- Takes a month's signals out of the default partition; the caller puts the new partition's name.
WITH moved AS (DELETE FROM signals_default WHERE event_time >= :since AND event_time < :until RETURNING *)
INSERT INTO signals_month SELECT * FROM moved;
