-- Every statement of the PostgreSQL store and home, under its name and one line of purpose.

-- name: schema
-- The version of each part of the schema, with the half of its last script.
SELECT part, version, half FROM finality_schema

-- name: lock_schema
-- One process at a time changes the schema; the number is of no other meaning.
SELECT pg_advisory_xact_lock(7021960119)

-- name: make_schema
-- Where the versions of the schema are kept.
CREATE TABLE IF NOT EXISTS finality_schema (part text PRIMARY KEY, version bigint NOT NULL, half text NOT NULL)

-- name: set_schema
-- Note a part's version.
INSERT INTO finality_schema VALUES ($1, $2, $3)
ON CONFLICT (part) DO UPDATE SET version = excluded.version, half = excluded.half

-- name: keys
-- A few keys for new streams.
SELECT nextval('finality_stream_key') FROM generate_series(1, $1)

-- name: append
-- All that turns have appended, signed with the number of their batch. The signature is null, which its table
-- refuses, unless every new name was free, every first event follows one that is there and nobody has given the
-- batch up; an event that is there itself is refused by the table of events. Rows of streams are locked before any
-- event is written. (Numbers come as text, which costs the driver a tenth of an array. Of a LIMIT that it does not
-- know the planner expects a single row, so that it looks rows up by their keys, however small the table was when it
-- made the plan.)
WITH born AS (
    INSERT INTO finality_stream
        (stream, name, version, definition, status, open, wake_at, driver, parent, started_at)
    SELECT b.*, $3::float8
    FROM unnest($7::text::bigint[], $8::text[], $9::text::bigint[], $10::text::bigint[], $11::text[],
        $12::text::boolean[], $13::text::float8[], $14::text::bigint[], $15::text::bigint[]) b
    ON CONFLICT (name) DO NOTHING RETURNING 1
), moved AS (
    UPDATE finality_stream s SET version = m.version, status = m.status, open = m.open, wake_at = m.wake_at
    FROM (
        SELECT * FROM unnest($17::text::bigint[], $18::text::bigint[], $19::text[], $20::text::boolean[],
            $21::text::float8[]) AS n (stream, version, status, open, wake_at)
        LIMIT $16::bigint
    ) m WHERE s.stream = m.stream RETURNING 1
), followed AS (
    SELECT 1 FROM (
        SELECT * FROM unnest($23::text::bigint[], $24::text::bigint[]) AS n (stream, version) LIMIT $22::bigint
    ) f JOIN finality_event USING (stream, version)
), woken AS (
    UPDATE finality_stream s SET wake_at = w.wake_at
    FROM (
        SELECT * FROM unnest($26::text::bigint[], $27::text::float8[]) AS n (stream, wake_at) LIMIT $25::bigint
    ) w WHERE s.stream = w.stream AND s.open
), freed AS (
    DELETE FROM finality_lock WHERE stream = ANY ($28::text::bigint[])
), kept AS (
    INSERT INTO finality_event (stream, version, type, data, meta, at, node)
    SELECT e.stream, e.version, e.type, e.data, e.meta, $3::float8,
        coalesce((SELECT node FROM finality_node WHERE id = $4::text), 0)
    FROM unnest($29::text::bigint[], $30::text::bigint[], $31::text[], $32::bytea[], $33::bytea[])
        WITH ORDINALITY AS e (stream, version, type, data, meta, place)
    ORDER BY e.place
), tagged AS (
    INSERT INTO finality_tag (tag, stream, version, type)
    SELECT * FROM unnest($34::text[], $35::text::bigint[], $36::text::bigint[], $37::text[])
)
INSERT INTO finality_line (id, batch, at) SELECT $1::text, CASE
    WHEN (SELECT count(*) FROM born) = $6::bigint AND (SELECT count(*) FROM moved) = $16::bigint
        AND (SELECT count(*) FROM followed) = $22::bigint THEN $2::bigint
END, $3::float8
ON CONFLICT (id) DO UPDATE SET at = excluded.at,
    batch = CASE WHEN finality_line.batch <= excluded.batch THEN excluded.batch END
RETURNING ARRAY (SELECT nextval('finality_stream_key') FROM generate_series(1, $5::int))

-- name: misplaced
-- Which of some streams are not where they were expected, and which of some names are taken.
SELECT m.stream, NULL::text AS name FROM unnest($1::bigint[], $2::bigint[]) AS m (stream, expected)
WHERE (SELECT max(version) FROM finality_event e WHERE e.stream = m.stream) IS DISTINCT FROM m.expected
UNION ALL SELECT NULL, name FROM finality_stream WHERE name = ANY ($3::text[])

-- name: share_tags
-- Have whoever decides on events with these tags wait until this transaction has ended, in the order of keys.
SELECT pg_advisory_xact_lock_shared(k) FROM (
    SELECT DISTINCT hashtextextended(t, 7021960119) AS k FROM unnest($1::text[]) t ORDER BY k OFFSET 0
) keys

-- name: hold_tags
-- Have whoever records events with these tags, or decides on them, wait until this transaction has ended.
SELECT pg_advisory_xact_lock(k) FROM (
    SELECT DISTINCT hashtextextended(t, 7021960119) AS k FROM unnest($1::text[]) t ORDER BY k OFFSET 0
) keys

-- name: source
-- A stream of facts, with its snapshot.
SELECT s.stream, s.name, s.version, s.status, n.version, n.shape, n.data
FROM finality_stream s LEFT JOIN finality_snapshot n USING (stream) WHERE s.name = $1

-- name: listed
-- The streams whose names begin with a prefix, behind a name; the highest character there is ends the range.
SELECT stream, name, version, status FROM finality_stream
WHERE name >= $1 AND name > $2 AND name < $1 || chr(1114111) AND ($3 OR status IS NULL) ORDER BY name LIMIT $4

-- name: matching
-- Where the events are that have all of some tags and one of some types, if any are named.
SELECT t.stream, t.version FROM finality_tag t
WHERE t.tag = ANY ($1::text[]) AND (cardinality($2::text[]) = 0 OR t.type = ANY ($2::text[]))
GROUP BY t.stream, t.version HAVING count(*) = cardinality($1::text[])

-- name: events_at
-- Events by stream and version, in the order of their positions.
SELECT e.position, s.name, e.version, e.type, e.data, e.at, n.id, e.meta
FROM unnest($1::bigint[], $2::bigint[]) AS w (stream, version)
JOIN finality_event e ON e.stream = w.stream AND e.version = w.version
JOIN finality_stream s ON s.stream = e.stream LEFT JOIN finality_node n ON n.node = e.node
ORDER BY e.position

-- name: archive
-- Leave a stream out of listings.
UPDATE finality_stream SET status = 'archived' WHERE name = $1

-- name: keep_snapshot
-- Keep a snapshot in the place of an earlier one.
INSERT INTO finality_snapshot (stream, version, shape, data, at)
SELECT stream, $2, $3, $4, $5 FROM finality_stream WHERE name = $1
ON CONFLICT (stream) DO UPDATE SET version = excluded.version, shape = excluded.shape,
    data = excluded.data, at = excluded.at

-- name: subject_keys
-- The sealed keys of data subjects.
SELECT subject, key FROM finality_subject WHERE subject = ANY ($1::text[])

-- name: keep_subject_key
-- Keep the key of a data subject that has none.
INSERT INTO finality_subject (subject, key, at) VALUES ($1, $2, $3) ON CONFLICT (subject) DO NOTHING

-- name: forget
-- Delete the key of a data subject, for ever.
INSERT INTO finality_subject (subject, key, at) VALUES ($1, NULL, $2)
ON CONFLICT (subject) DO UPDATE SET key = NULL, at = excluded.at

-- name: unlock_all
-- Release transactions' semantic locks.
DELETE FROM finality_lock WHERE stream = ANY ($1::bigint[])

-- name: mark
-- Sign a batch, in its own transaction.
INSERT INTO finality_line (id, batch, at) VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, at = excluded.at

-- name: last_mark
-- Whether a batch has committed; waits for one that is about to. One that has not is given up, by a number behind
-- its own: its statement may still be on its way.
INSERT INTO finality_line (id, batch, at) VALUES ($1, $2::bigint + 1, $3)
ON CONFLICT (id) DO UPDATE SET at = excluded.at,
    batch = CASE WHEN finality_line.batch = excluded.batch - 1 THEN finality_line.batch ELSE excluded.batch END
RETURNING batch

-- name: prune_lines
-- Forget the lines of processes that are long gone.
DELETE FROM finality_line WHERE at < $1

-- name: lock_key
-- Nobody else changes the row of a stream until this transaction ends.
SELECT FROM finality_stream WHERE stream = $1 FOR UPDATE

-- name: last_version
-- Where a stream is; null if it is nowhere.
SELECT max(version) FROM finality_event WHERE stream = $1

-- name: find_stream
-- The key of a stream.
SELECT stream FROM finality_stream WHERE name = $1

-- name: read
-- The events of one stream behind a version.
SELECT e.position, s.name, e.version, e.type, e.data, e.at, n.id, e.meta
FROM finality_event e JOIN finality_stream s ON s.stream = e.stream LEFT JOIN finality_node n ON n.node = e.node
WHERE e.stream = $1 AND e.version > $2 ORDER BY e.version LIMIT $3

-- name: histories
-- The events of some streams, each from its first.
SELECT stream, type, data FROM finality_event WHERE stream = ANY ($1::bigint[]) ORDER BY stream, version

-- name: page_by_position
-- The events behind a position that a snapshot shows. (As below, the limit is hidden from the planner.)
SELECT e.position, s.name, e.version, e.type, e.data, e.at, n.id, e.meta
FROM finality_event e JOIN finality_stream s ON s.stream = e.stream LEFT JOIN finality_node n ON n.node = e.node
WHERE e.position > $2 AND pg_visible_in_snapshot(e.xid, $1::text::pg_snapshot)
ORDER BY e.position LIMIT (SELECT $3::bigint)

-- name: page_by_snapshot
-- The first events that one snapshot shows and an earlier one did not. (They are found by transactions, and sorted
-- by a sum with zero, for the planner would walk the whole index of positions to find few in order.)
SELECT e.position, s.name, e.version, e.type, e.data, e.at, n.id, e.meta
FROM finality_event e JOIN finality_stream s ON s.stream = e.stream LEFT JOIN finality_node n ON n.node = e.node
WHERE e.xid >= pg_snapshot_xmin($4::text::pg_snapshot) AND e.xid < pg_snapshot_xmax($1::text::pg_snapshot)
    AND NOT pg_visible_in_snapshot(e.xid, $4::text::pg_snapshot)
    AND pg_visible_in_snapshot(e.xid, $1::text::pg_snapshot)
ORDER BY e.position + $2 LIMIT $3

-- name: page_further
-- Those behind a position that a page of such a difference has come to. (From the first page on the index of
-- positions leads to the others: the planner is left no other, for it would sort them all for each page.)
SELECT e.position, s.name, e.version, e.type, e.data, e.at, n.id, e.meta
FROM finality_event e JOIN finality_stream s ON s.stream = e.stream LEFT JOIN finality_node n ON n.node = e.node
WHERE e.position > $2 AND pg_visible_in_snapshot(e.xid, $1::text::pg_snapshot)
    AND NOT pg_visible_in_snapshot(e.xid, $4::text::pg_snapshot)
ORDER BY e.position LIMIT (SELECT $3::bigint)

-- name: facts_by_position
-- The user's own events behind a position that a snapshot shows: ours have a dot in their type. (IS DISTINCT
-- FROM has the planner expect many rows, and a limit that it cannot see few of them, so that it walks the index
-- of a table that was never analyzed, too; it would sort the whole of it for each page.)
SELECT e.position, s.name, e.version, e.type, e.data, e.at, NULL, e.meta
FROM finality_event e JOIN finality_stream s ON s.stream = e.stream
WHERE e.position > $2 AND pg_visible_in_snapshot(e.xid, $1::text::pg_snapshot)
    AND (strpos(e.type, '.') = 0) IS DISTINCT FROM false
ORDER BY e.position LIMIT (SELECT $3::bigint)

-- name: facts_by_snapshot
-- The first of those that one snapshot shows and an earlier one did not. (As with ``page_by_snapshot``.)
SELECT e.position, s.name, e.version, e.type, e.data, e.at, NULL, e.meta
FROM finality_event e JOIN finality_stream s ON s.stream = e.stream
WHERE e.xid >= pg_snapshot_xmin($4::text::pg_snapshot) AND e.xid < pg_snapshot_xmax($1::text::pg_snapshot)
    AND NOT pg_visible_in_snapshot(e.xid, $4::text::pg_snapshot)
    AND pg_visible_in_snapshot(e.xid, $1::text::pg_snapshot) AND e.type NOT LIKE '%.%'
ORDER BY e.position + $2 LIMIT $3

-- name: facts_further
-- Those behind a position that a page of such a difference has come to. (As with ``page_further``.)
SELECT e.position, s.name, e.version, e.type, e.data, e.at, NULL, e.meta
FROM finality_event e JOIN finality_stream s ON s.stream = e.stream
WHERE e.position > $2 AND pg_visible_in_snapshot(e.xid, $1::text::pg_snapshot)
    AND NOT pg_visible_in_snapshot(e.xid, $4::text::pg_snapshot)
    AND (strpos(e.type, '.') = 0) IS DISTINCT FROM false
ORDER BY e.position LIMIT (SELECT $3::bigint)

-- name: newest
-- The last events before a position that a snapshot shows, newest first.
SELECT e.position, s.name, e.version, e.type, e.data, e.at, n.id, e.meta
FROM finality_event e JOIN finality_stream s ON s.stream = e.stream LEFT JOIN finality_node n ON n.node = e.node
WHERE e.position < $2 AND pg_visible_in_snapshot(e.xid, $1::text::pg_snapshot)
ORDER BY e.position DESC LIMIT $3

-- name: begun
-- Which streams there are, of some.
SELECT name FROM finality_stream WHERE name = ANY ($1::text[])

-- name: snapshot
-- What is committed now, as a snapshot.
SELECT pg_current_snapshot()::text

-- name: own_snapshot
-- What is committed now, which transaction this is, and of which cluster.
SELECT pg_current_snapshot()::text, pg_current_xact_id()::text, system_identifier::text FROM pg_control_system()

-- name: cluster
-- Which cluster this is: another one counts its transactions anew.
SELECT system_identifier::text FROM pg_control_system()

-- name: streams
-- The streams whose names begin with a prefix.
SELECT name FROM finality_stream WHERE starts_with(name, $1) ORDER BY name LIMIT $2

-- name: next_wake
-- When a node's next transaction wakes.
SELECT min(wake_at) FROM finality_stream
WHERE open AND driver = (SELECT node FROM finality_node WHERE id = $1)

-- name: migrate
-- Put a transaction under another version of its definition.
UPDATE finality_stream SET definition = $2, note = NULL WHERE stream = $1

-- name: note
-- Say why no node can drive a transaction.
UPDATE finality_stream SET note = $2 WHERE stream = $1

-- name: release
-- Let go of an open transaction that its node cannot drive, and say why.
UPDATE finality_stream SET driver = NULL, wake_at = 0, note = $2 WHERE stream = $1 AND open

-- name: claim_due
-- Take a node's transactions whose time has come in hand, earliest first.
WITH due AS (
    SELECT stream, wake_at FROM finality_stream WHERE open AND driver = $1 AND wake_at <= $2
    ORDER BY wake_at LIMIT $3 FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE finality_stream s SET wake_at = NULL FROM due WHERE s.stream = due.stream
    RETURNING s.stream, s.definition, due.wake_at
) SELECT t.stream, d.kind FROM taken t JOIN finality_definition d USING (definition) ORDER BY t.wake_at, t.stream

-- name: dead_drivers
-- Nodes whose lease has ended while they still have open transactions.
SELECT node, id FROM finality_node n
WHERE lease_until < $1 AND EXISTS (SELECT 1 FROM finality_stream s WHERE s.open AND s.driver = n.node)

-- name: take
-- Give a node open transactions of one driver, or of none, that it can drive, and tell it in their streams. One
-- that its driver moves on meanwhile is left for the next time.
WITH found AS (
    SELECT stream FROM finality_stream
    WHERE open AND driver IS NOT DISTINCT FROM $2::bigint
        AND (definition = ANY ($3::bigint[]) OR note IS NULL AND definition = ANY ($4::bigint[]))
    LIMIT $5 FOR UPDATE SKIP LOCKED
), told AS (
    INSERT INTO finality_event (stream, version, type, data, at, node)
    SELECT stream, (SELECT max(e.version) FROM finality_event e WHERE e.stream = found.stream) + 1,
        $6, $7, $8, coalesce((SELECT node FROM finality_node WHERE id = $9), 0)
    FROM found ON CONFLICT (stream, version) DO NOTHING RETURNING stream
) UPDATE finality_stream s
SET driver = $1, note = NULL, wake_at = CASE WHEN status = 'compensating' THEN 0 ELSE coalesce(wake_at, 0) END
FROM told WHERE s.stream = told.stream RETURNING s.stream

-- name: witness
-- What an operation of a branch answered here.
SELECT answer FROM finality_witness WHERE transaction_id = $1 AND branch = $2 AND operation = $3

-- name: testify
-- Record that a branch ran an operation here.
INSERT INTO finality_witness (transaction_id, branch, operation, answer, at) VALUES ($1, $2, $3, $4, $5)

-- name: retract
-- Take back what a branch testified.
DELETE FROM finality_witness WHERE transaction_id = $1 AND branch = $2 AND operation = $3

-- name: holds
-- Branches that wait for a decision, oldest first.
SELECT transaction_id, branch, answer, at FROM finality_witness WHERE operation = 'hold' ORDER BY at

-- name: publish
-- Put an event into the outbox.
INSERT INTO finality_outbox (id, aggregatetype, aggregateid, type, payload, headers, at, share)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: outbox_by_position
-- The events of a share behind a position that a snapshot shows. (In the order of positions, past those of other
-- shares: of a share by itself the planner expects few rows before they were ever counted, and sorts them all.)
SELECT position, id, aggregatetype, aggregateid, type, payload, headers, at FROM finality_outbox
WHERE position > $2 AND pg_visible_in_snapshot(xid, $1::text::pg_snapshot)
    AND (share = $4) IS DISTINCT FROM false
ORDER BY position LIMIT (SELECT $3::bigint)

-- name: outbox_by_snapshot
-- The first events of a share that one snapshot shows and an earlier one did not. (As with ``page_by_snapshot``.)
SELECT position, id, aggregatetype, aggregateid, type, payload, headers, at FROM finality_outbox
WHERE share = $5 AND xid >= pg_snapshot_xmin($4::text::pg_snapshot)
    AND xid < pg_snapshot_xmax($1::text::pg_snapshot)
    AND NOT pg_visible_in_snapshot(xid, $4::text::pg_snapshot)
    AND pg_visible_in_snapshot(xid, $1::text::pg_snapshot)
ORDER BY position + $2 LIMIT $3

-- name: outbox_further
-- Those behind a position that a page of such a difference has come to. (As with ``outbox_by_position``.)
SELECT position, id, aggregatetype, aggregateid, type, payload, headers, at FROM finality_outbox
WHERE position > $2 AND pg_visible_in_snapshot(xid, $1::text::pg_snapshot)
    AND NOT pg_visible_in_snapshot(xid, $4::text::pg_snapshot) AND (share = $5) IS DISTINCT FROM false
ORDER BY position LIMIT (SELECT $3::bigint)

-- name: outbox_since
-- The position before the first event that was published at a time or later, or of the last one.
SELECT coalesce((SELECT min(position) - 1 FROM finality_outbox WHERE at >= $1),
                (SELECT max(position) FROM finality_outbox), 0)

-- name: prune_outbox
-- Forget, of the oldest events of a share that a snapshot has shown, or up to a position, those that were
-- published before a time.
DELETE FROM finality_outbox WHERE position IN (
    SELECT position FROM (
        SELECT position, at FROM finality_outbox WHERE share = $1
            AND ($2 <> '' AND pg_visible_in_snapshot(xid, nullif($2, '')::pg_snapshot) OR $2 = '' AND position <= $3)
        ORDER BY xid LIMIT (SELECT $4::bigint)) AS oldest
    WHERE at < $5
) RETURNING position

-- name: delay
-- Keep an event until it is due.
INSERT INTO finality_delayed (topic, key, type, data, headers, due_at) VALUES ($1, $2, $3, $4, $5, $6)

-- name: due_events
-- Delayed events whose time has come, earliest first; nobody else releases them meanwhile.
SELECT delayed, topic, key, type, data, headers FROM finality_delayed WHERE due_at <= $1
ORDER BY due_at, delayed LIMIT $2 FOR UPDATE SKIP LOCKED

-- name: released
-- A delayed event is in the outbox now.
DELETE FROM finality_delayed WHERE delayed = $1

-- name: next_release
-- When the next delayed event is due.
SELECT min(due_at) FROM finality_delayed

-- name: claim
-- Take or renew the lease of a share, unless another node holds it.
INSERT INTO finality_reader AS r (reader, share, epoch, cursor, node, lease_until, updated_at)
VALUES ($1, $2, 1, '', $3, $4, $5)
ON CONFLICT (reader, share) DO UPDATE SET
    epoch = r.epoch + (r.node IS DISTINCT FROM excluded.node)::int, node = excluded.node,
    lease_until = excluded.lease_until
WHERE r.node IS NULL OR r.node = excluded.node OR r.lease_until <= $5
RETURNING reader, share, epoch, cursor, node, lease_until, updated_at

-- name: progress_of
-- How far a share is; whoever moves it waits until this transaction has ended.
SELECT reader, share, epoch, cursor, node, lease_until, updated_at FROM finality_reader
WHERE reader = $1 AND share = $2 FOR UPDATE

-- name: advance_reader
-- Move a share's cursor, unless it has another holder now.
UPDATE finality_reader SET cursor = $1, updated_at = $2 WHERE reader = $3 AND share = $4 AND epoch = $5
RETURNING epoch

-- name: give_back
-- End the lease of a share.
UPDATE finality_reader SET node = NULL, lease_until = 0 WHERE reader = $1 AND share = $2 AND epoch = $3

-- name: rewind
-- Set a share's cursor, and fence off who reads it.
INSERT INTO finality_reader AS r (reader, share, epoch, cursor, node, lease_until, updated_at)
VALUES ($1, $2, 1, $3, NULL, 0, $4)
ON CONFLICT (reader, share) DO UPDATE SET
    epoch = r.epoch + 1, cursor = excluded.cursor, node = NULL, lease_until = 0, updated_at = excluded.updated_at

-- name: progress
-- How far a reader, or every one, has come.
SELECT reader, share, epoch, cursor, node, lease_until, updated_at FROM finality_reader
WHERE $1::text IS NULL OR reader = $1 ORDER BY reader, share

-- name: park
-- Put an event aside.
INSERT INTO finality_parked (reader, topic, key, id, attributes, data, because, attempts, parked_at, retry_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: parked_key
-- The first parked events of a key.
SELECT place, reader, topic, key, id, attributes, data, because, attempts, parked_at, retry_at
FROM finality_parked WHERE reader = $1 AND topic = $2 AND key = $3 ORDER BY place LIMIT $4

-- name: parked_at
-- A parked event; nobody else takes it out meanwhile.
SELECT place, reader, topic, key, id, attributes, data, because, attempts, parked_at, retry_at
FROM finality_parked WHERE place = $1 FOR UPDATE

-- name: parked_events
-- Parked events behind a place, of a reader and a topic if they are given.
SELECT place, reader, topic, key, id, attributes, data, because, attempts, parked_at, retry_at
FROM finality_parked
WHERE ($1::text IS NULL OR reader = $1) AND ($2::text IS NULL OR topic = $2) AND place > $3
ORDER BY place LIMIT $4

-- name: repark
-- Say anew why an event is parked.
UPDATE finality_parked SET because = $1, attempts = $2, retry_at = $3 WHERE place = $4

-- name: unpark
-- Take an event out.
DELETE FROM finality_parked WHERE place = $1

-- name: next_retry
-- When the next parked event of a reader is tried again.
SELECT min(retry_at) FROM finality_parked WHERE reader = $1 AND retry_at IS NOT NULL

-- name: forget_witnesses
-- Forget some testimonies of an operation that are older than a time.
DELETE FROM finality_witness WHERE (transaction_id, branch, operation) IN (
    SELECT transaction_id, branch, operation FROM finality_witness WHERE operation = $1 AND at < $2 LIMIT $3
) RETURNING 1

-- name: lock
-- Take a semantic lock, unless it is taken.
INSERT INTO finality_lock (resource, stream, at) VALUES ($1, $2, $3) ON CONFLICT (resource) DO NOTHING
RETURNING stream

-- name: lock_holder
-- Who has a semantic lock, and since when.
SELECT stream, at FROM finality_lock WHERE resource = $1

-- name: define
-- Keep the shape of a definition.
INSERT INTO finality_definition (kind, version, graph) VALUES ($1, $2, $3)
ON CONFLICT (kind, version) DO UPDATE SET graph = excluded.graph

-- name: definitions
-- Every definition by its short name.
SELECT definition, kind, version FROM finality_definition

-- name: definition
-- The shape of a definition.
SELECT graph FROM finality_definition WHERE kind = $1 AND version = $2

-- name: renew
-- Enter a node or renew its lease.
INSERT INTO finality_node (id, host, process, drives, joined_at, lease_until) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (id) DO UPDATE SET drives = excluded.drives, lease_until = excluded.lease_until

-- name: leave
-- End a node's lease.
UPDATE finality_node SET lease_until = 0 WHERE id = $1

-- name: let_go
-- Let go of a node's open transactions, but for those in a list.
UPDATE finality_stream SET driver = NULL, wake_at = coalesce(wake_at, 0)
WHERE open AND driver = $1 AND stream <> ALL ($2::bigint[])

-- name: node_key
-- The short name of a node.
SELECT node FROM finality_node WHERE id = $1

-- name: nodes
-- Every node, newest first.
SELECT id, host, process, drives, joined_at, lease_until FROM finality_node ORDER BY node DESC LIMIT $1

-- name: counts
-- How many transactions there are of each kind in each status.
SELECT d.kind, s.status, count(*) FROM finality_stream s JOIN finality_definition d USING (definition)
GROUP BY d.kind, s.status

-- name: head_columns
-- The columns of a head; what follows says which heads.
SELECT s.stream, s.name, d.kind, d.version,
       (SELECT max(e.version) FROM finality_event e WHERE e.stream = s.stream),
       s.status, s.open, s.wake_at, n.id, s.started_at,
       (SELECT e.at FROM finality_event e WHERE e.stream = s.stream ORDER BY e.version DESC LIMIT 1),
       s.parent, s.note
FROM finality_stream s JOIN finality_definition d USING (definition)
LEFT JOIN finality_node n ON n.node = s.driver
