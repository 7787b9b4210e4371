-- The statements of the bound on PostgreSQL, under their names and one line of purpose.

-- name: create
-- Begin transactions' streams.
INSERT INTO finality_stream
    (stream, name, version, definition, status, open, wake_at, driver, parent, started_at)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::boolean[],
    $7::float8[], $8::bigint[], $9::bigint[], $10::float8[])

-- name: renew_heads
-- Say something else at transactions' heads; as with ours, the LIMIT has them looked up by their keys.
UPDATE finality_stream s SET version = m.version, status = m.status, open = m.open, wake_at = m.wake_at
FROM (
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::boolean[], $5::float8[])
        AS n (stream, version, status, open, wake_at)
    LIMIT $6
) m WHERE s.stream = m.stream

-- name: insert_events
-- Keep events, in this order.
INSERT INTO finality_event (stream, version, type, data, at, node)
SELECT e.stream, e.version, e.type, e.data, e.at, $6
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bytea[], $5::float8[])
    WITH ORDINALITY AS e (stream, version, type, data, at, place)
ORDER BY e.place
