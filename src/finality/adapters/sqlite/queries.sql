-- Every statement of the SQLite adapter, under its name and one line of purpose.

-- name: create
-- Begin a transaction's stream, unless its name is taken.
INSERT INTO finality_stream
    (name, version, definition, status, open, wake_at, driver, parent, started_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (name) DO NOTHING;

-- name: last_version
-- Where a stream is; null if it is nowhere.
SELECT max(version) FROM finality_event WHERE stream = ?;

-- name: renew_head
-- Say something else at a transaction's head.
UPDATE finality_stream SET version = ?, status = ?, open = ?, wake_at = ? WHERE stream = ?;

-- name: still_in_hand
-- The same of a transaction that is open and in hand, as it was before.
UPDATE finality_stream SET version = ?, status = ? WHERE stream = ? AND open = 1 AND wake_at IS NULL;

-- name: follow
-- Keep an event behind another one; without that one its version is null, which the table refuses.
INSERT INTO finality_event (stream, version, type, data, at, node)
VALUES (?1, (SELECT version FROM finality_event WHERE stream = ?1 AND version = ?2) + 1, ?3, ?4, ?5, ?6);

-- name: insert_event
-- Keep one event.
INSERT INTO finality_event (stream, version, type, data, at, node) VALUES (?, ?, ?, ?, ?, ?);

-- name: create_plain
-- Begin a stream that is no transaction, unless its name is taken.
INSERT INTO finality_stream (name, version) VALUES (?, ?) ON CONFLICT (name) DO NOTHING;

-- name: advance_plain
-- Move such a stream on from the expected version.
UPDATE finality_stream SET version = ? WHERE stream = ? AND version = ?;

-- name: version
-- Where a stream is.
SELECT version FROM finality_stream WHERE stream = ?;

-- name: stream
-- Find a stream by name.
SELECT stream, version FROM finality_stream WHERE name = ?;

-- name: read
-- The events of one stream behind a version.
SELECT e.position, s.name, e.version, e.type, e.data, e.at, e.node, e.meta
FROM finality_event e JOIN finality_stream s ON s.stream = e.stream
WHERE e.stream = ? AND e.version > ? ORDER BY e.version LIMIT ?;

-- name: histories
-- The events of some streams, each from its first.
SELECT stream, type, data FROM finality_event WHERE stream IN (SELECT value FROM json_each(?))
ORDER BY stream, version;

-- name: histories_in_one_row
-- The same as JSON.
SELECT json_group_array(json_array(stream, type, hex(data)) ORDER BY stream, version)
FROM finality_event WHERE stream IN (SELECT value FROM json_each(?));

-- name: histories_bytes
-- How much data they have.
SELECT total(length(data)) FROM finality_event WHERE stream IN (SELECT value FROM json_each(?));

-- name: page
-- The events of all streams behind a position.
SELECT e.position, s.name, e.version, e.type, e.data, e.at, e.node, e.meta
FROM finality_event e JOIN finality_stream s ON s.stream = e.stream
WHERE e.position > ? ORDER BY e.position LIMIT ?;

-- name: facts
-- The user's own events between two positions: ours have a dot in their type.
SELECT e.position, s.name, e.version, e.type, e.data, e.at, e.node, e.meta
FROM finality_event e JOIN finality_stream s ON s.stream = e.stream
WHERE e.position > ? AND e.position <= ? AND instr(e.type, '.') = 0 ORDER BY e.position LIMIT ?;

-- name: newest
-- The last events of all streams up to a position, newest first.
SELECT e.position, s.name, e.version, e.type, e.data, e.at, e.node, e.meta
FROM finality_event e JOIN finality_stream s ON s.stream = e.stream
WHERE e.position <= ? ORDER BY e.position DESC LIMIT ?;

-- name: streams
-- The streams whose names begin with a prefix; the highest character there is ends the range.
SELECT name FROM finality_stream WHERE name >= ? AND name < ? || char(1114111) ORDER BY name LIMIT ?;

-- name: insert_fact
-- Keep one event of the user's own.
INSERT INTO finality_event (stream, version, type, data, at, node, meta) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: insert_tag
-- Let an event be found by a tag.
INSERT INTO finality_tag (tag, stream, version, type) VALUES (?, ?, ?, ?);

-- name: source
-- A stream of facts, with its snapshot.
SELECT s.stream, s.name, s.version, s.status, n.version, n.shape, n.data
FROM finality_stream s LEFT JOIN finality_snapshot n USING (stream) WHERE s.name = ?;

-- name: listed
-- The streams whose names begin with a prefix, behind a name; the highest character there is ends the range.
SELECT stream, name, version, status FROM finality_stream
WHERE name >= ?1 AND name > ?2 AND name < ?1 || char(1114111) AND (?3 OR status IS NULL)
ORDER BY name LIMIT ?4;

-- name: matching
-- Where the events are that have all of some tags and one of some types, if any are named.
SELECT t.stream, t.version FROM finality_tag t
WHERE t.tag IN (SELECT value FROM json_each(?1)) AND (?2 = '[]' OR t.type IN (SELECT value FROM json_each(?2)))
GROUP BY t.stream, t.version HAVING count(*) = json_array_length(?1);

-- name: events_at
-- Events by stream and version, in the order of their positions.
SELECT e.position, s.name, e.version, e.type, e.data, e.at, e.node, e.meta
FROM json_each(?) w
CROSS JOIN finality_event e ON e.stream = w.value ->> 0 AND e.version = w.value ->> 1
JOIN finality_stream s ON s.stream = e.stream ORDER BY e.position;

-- name: archive
-- Leave a stream out of listings.
UPDATE finality_stream SET status = 'archived' WHERE name = ?;

-- name: keep_snapshot
-- Keep a snapshot in the place of an earlier one.
INSERT INTO finality_snapshot (stream, version, shape, data, at)
SELECT stream, ?2, ?3, ?4, ?5 FROM finality_stream WHERE name = ?1
ON CONFLICT (stream) DO UPDATE SET version = excluded.version, shape = excluded.shape,
    data = excluded.data, at = excluded.at;

-- name: subject_keys
-- The sealed keys of data subjects.
SELECT subject, key FROM finality_subject WHERE subject IN (SELECT value FROM json_each(?));

-- name: keep_subject_key
-- Keep the key of a data subject that has none.
INSERT INTO finality_subject (subject, key, at) VALUES (?, ?, ?) ON CONFLICT (subject) DO NOTHING;

-- name: forget
-- Delete the key of a data subject, for ever.
INSERT INTO finality_subject (subject, key, at) VALUES (?, NULL, ?)
ON CONFLICT (subject) DO UPDATE SET key = NULL, at = excluded.at;

-- name: end
-- The position of the newest event.
SELECT max(position) FROM finality_event;

-- name: next_wake
-- When a node's next transaction wakes.
SELECT min(wake_at) FROM finality_stream
WHERE open = 1 AND driver = (SELECT node FROM finality_node WHERE id = ?);

-- name: wake
-- Let whoever drives an open transaction look at it.
UPDATE finality_stream SET wake_at = 0 WHERE stream = ? AND open = 1;

-- name: set_wake
-- Renew the time at which an open transaction wakes.
UPDATE finality_stream SET wake_at = ? WHERE stream = ? AND open = 1;

-- name: migrate
-- Put a transaction under another version of its definition.
UPDATE finality_stream SET definition = ?, note = NULL WHERE stream = ?;

-- name: note
-- Say why no node can drive a transaction.
UPDATE finality_stream SET note = ? WHERE stream = ?;

-- name: release
-- Let go of an open transaction that its node cannot drive, and say why.
UPDATE finality_stream SET driver = NULL, wake_at = 0, note = ? WHERE stream = ? AND open = 1;

-- name: due
-- A node's transactions whose time has come, earliest first.
SELECT s.stream, d.kind FROM finality_stream s JOIN finality_definition d USING (definition)
WHERE s.open = 1 AND s.driver = ? AND s.wake_at <= ? ORDER BY s.wake_at LIMIT ?;

-- name: claim_due
-- Take transactions in hand.
UPDATE finality_stream SET wake_at = NULL WHERE stream IN (SELECT value FROM json_each(?));

-- name: dead_drivers
-- Nodes whose lease has ended while they still have open transactions.
SELECT node FROM finality_node
WHERE lease_until < ? AND EXISTS (SELECT 1 FROM finality_stream WHERE open = 1 AND driver = node);

-- name: take
-- Give a node open transactions of one driver, or of none, that it can drive; return where each is.
UPDATE finality_stream
SET driver = ?, note = NULL,
    wake_at = CASE WHEN status = 'compensating' THEN 0 ELSE ifnull(wake_at, 0) END
WHERE stream IN (
    SELECT stream FROM finality_stream
    WHERE open = 1 AND driver IS ?
        AND (definition IN (SELECT value FROM json_each(?))
            OR note IS NULL AND definition IN (SELECT value FROM json_each(?)))
    LIMIT ?
) RETURNING stream, (SELECT max(version) FROM finality_event e WHERE e.stream = finality_stream.stream);

-- name: begun
-- Which streams there are, of some.
SELECT name FROM finality_stream WHERE name IN (SELECT value FROM json_each(?));

-- name: witness
-- What an operation of a branch answered here.
SELECT answer FROM finality_witness WHERE transaction_id = ? AND branch = ? AND operation = ?;

-- name: testify
-- Record that a branch ran an operation here.
INSERT INTO finality_witness (transaction_id, branch, operation, answer, at) VALUES (?, ?, ?, ?, ?);

-- name: retract
-- Take back what a branch testified.
DELETE FROM finality_witness WHERE transaction_id = ? AND branch = ? AND operation = ?;

-- name: holds
-- Branches that wait for a decision, oldest first.
SELECT transaction_id, branch, answer, at FROM finality_witness WHERE operation = 'hold' ORDER BY at;

-- name: publish
-- Put an event into the outbox.
INSERT INTO finality_outbox (id, aggregatetype, aggregateid, type, payload, headers, at, share)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: outbox
-- The events of a share behind a position.
SELECT position, id, aggregatetype, aggregateid, type, payload, headers, at FROM finality_outbox
WHERE share = ? AND position > ? ORDER BY position LIMIT ?;

-- name: outbox_since
-- The position before the first event that was published at a time or later, or of the last one.
SELECT coalesce((SELECT min(position) - 1 FROM finality_outbox WHERE at >= ?),
                (SELECT max(position) FROM finality_outbox), 0);

-- name: prune_outbox
-- Forget, of the oldest events of a share up to a position, those that were published before a time.
DELETE FROM finality_outbox WHERE position IN (
    SELECT position FROM (
        SELECT position, at FROM finality_outbox WHERE share = ? AND position <= ? ORDER BY position LIMIT ?)
    WHERE at < ?
) RETURNING position;

-- name: delay
-- Keep an event until it is due.
INSERT INTO finality_delayed (topic, key, type, data, headers, due_at) VALUES (?, ?, ?, ?, ?, ?);

-- name: due_events
-- Delayed events whose time has come, earliest first.
SELECT delayed, topic, key, type, data, headers FROM finality_delayed WHERE due_at <= ?
ORDER BY due_at, delayed LIMIT ?;

-- name: released
-- A delayed event is in the outbox now.
DELETE FROM finality_delayed WHERE delayed = ?;

-- name: next_release
-- When the next delayed event is due.
SELECT min(due_at) FROM finality_delayed;

-- name: claim
-- Take or renew the lease of a share, unless another node holds it.
INSERT INTO finality_reader AS r (reader, share, epoch, cursor, node, lease_until, updated_at)
VALUES (?1, ?2, 1, '', ?3, ?4, ?5)
ON CONFLICT (reader, share) DO UPDATE SET
    epoch = r.epoch + (r.node IS NOT excluded.node), node = excluded.node, lease_until = excluded.lease_until
WHERE r.node IS NULL OR r.node = excluded.node OR r.lease_until <= ?5
RETURNING reader, share, epoch, cursor, node, lease_until, updated_at;

-- name: progress_of
-- How far a share is.
SELECT reader, share, epoch, cursor, node, lease_until, updated_at FROM finality_reader
WHERE reader = ? AND share = ?;

-- name: advance_reader
-- Move a share's cursor, unless it has another holder now.
UPDATE finality_reader SET cursor = ?, updated_at = ? WHERE reader = ? AND share = ? AND epoch = ?
RETURNING epoch;

-- name: give_back
-- End the lease of a share.
UPDATE finality_reader SET node = NULL, lease_until = 0 WHERE reader = ? AND share = ? AND epoch = ?;

-- name: rewind
-- Set a share's cursor, and fence off who reads it.
INSERT INTO finality_reader AS r (reader, share, epoch, cursor, node, lease_until, updated_at)
VALUES (?1, ?2, 1, ?3, NULL, 0, ?4)
ON CONFLICT (reader, share) DO UPDATE SET
    epoch = r.epoch + 1, cursor = excluded.cursor, node = NULL, lease_until = 0, updated_at = excluded.updated_at;

-- name: progress
-- How far a reader, or every one, has come.
SELECT reader, share, epoch, cursor, node, lease_until, updated_at FROM finality_reader
WHERE ?1 IS NULL OR reader = ?1 ORDER BY reader, share;

-- name: park
-- Put an event aside.
INSERT INTO finality_parked (reader, topic, key, id, attributes, data, because, attempts, parked_at, retry_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: parked_key
-- The first parked events of a key.
SELECT place, reader, topic, key, id, attributes, data, because, attempts, parked_at, retry_at
FROM finality_parked WHERE reader = ? AND topic = ? AND key = ? ORDER BY place LIMIT ?;

-- name: parked_at
-- A parked event.
SELECT place, reader, topic, key, id, attributes, data, because, attempts, parked_at, retry_at
FROM finality_parked WHERE place = ?;

-- name: parked_events
-- Parked events behind a place, of a reader and a topic if they are given.
SELECT place, reader, topic, key, id, attributes, data, because, attempts, parked_at, retry_at
FROM finality_parked WHERE (?1 IS NULL OR reader = ?1) AND (?2 IS NULL OR topic = ?2) AND place > ?3
ORDER BY place LIMIT ?4;

-- name: repark
-- Say anew why an event is parked.
UPDATE finality_parked SET because = ?, attempts = ?, retry_at = ? WHERE place = ?;

-- name: unpark
-- Take an event out.
DELETE FROM finality_parked WHERE place = ?;

-- name: next_retry
-- When the next parked event of a reader is tried again.
SELECT min(retry_at) FROM finality_parked WHERE reader = ? AND retry_at IS NOT NULL;

-- name: forget_witnesses
-- Forget some testimonies of an operation that are older than a time.
DELETE FROM finality_witness WHERE (transaction_id, branch, operation) IN (
    SELECT transaction_id, branch, operation FROM finality_witness WHERE operation = ? AND at < ? LIMIT ?
) RETURNING 1;

-- name: lock
-- Take a semantic lock, unless it is taken.
INSERT INTO finality_lock (resource, stream, at) VALUES (?, ?, ?) ON CONFLICT (resource) DO NOTHING;

-- name: lock_holder
-- Who has a semantic lock, and since when.
SELECT stream, at FROM finality_lock WHERE resource = ?;

-- name: any_lock
-- A row if anybody holds a semantic lock.
SELECT 1 FROM finality_lock LIMIT 1;

-- name: unlock_all
-- Release a transaction's semantic locks.
DELETE FROM finality_lock WHERE stream = ?;

-- name: define
-- Keep the shape of a definition.
INSERT INTO finality_definition (kind, version, graph) VALUES (?, ?, ?)
ON CONFLICT (kind, version) DO UPDATE SET graph = excluded.graph;

-- name: definitions
-- Every definition by its short name.
SELECT definition, kind, version FROM finality_definition;

-- name: definition_key
-- The short name of a definition.
SELECT definition FROM finality_definition WHERE kind = ? AND version = ?;

-- name: definition
-- The shape of a definition.
SELECT graph FROM finality_definition WHERE kind = ? AND version = ?;

-- name: renew
-- Enter a node or renew its lease.
INSERT INTO finality_node (id, host, process, drives, joined_at, lease_until) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET drives = excluded.drives, lease_until = excluded.lease_until;

-- name: leave
-- End a node's lease.
UPDATE finality_node SET lease_until = 0 WHERE id = ?;

-- name: let_go
-- Let go of a node's open transactions, but for those in a list.
UPDATE finality_stream SET driver = NULL, wake_at = ifnull(wake_at, 0)
WHERE open = 1 AND driver = ? AND stream NOT IN (SELECT value FROM json_each(?));

-- name: node_key
-- The short name of a node.
SELECT node FROM finality_node WHERE id = ?;

-- name: node_id
-- The id of a node.
SELECT id FROM finality_node WHERE node = ?;

-- name: nodes
-- Every node, newest first.
SELECT id, host, process, drives, joined_at, lease_until FROM finality_node ORDER BY node DESC LIMIT ?;

-- name: counts
-- How many transactions there are of each kind in each status.
SELECT d.kind, s.status, count(*) FROM finality_stream s JOIN finality_definition d USING (definition)
GROUP BY d.kind, s.status;

-- name: head_columns
-- What a head is made of.
s.stream, s.name, d.kind, d.version,
(SELECT max(e.version) FROM finality_event e WHERE e.stream = s.stream),
s.status, s.open, s.wake_at, n.id, s.started_at,
(SELECT e.at FROM finality_event e WHERE e.stream = s.stream ORDER BY e.version DESC LIMIT 1),
s.parent, s.note

-- name: head_tables
-- Where that is; what follows says which heads.
FROM finality_stream s JOIN finality_definition d USING (definition)
LEFT JOIN finality_node n ON n.node = s.driver

-- name: intents
-- The branch in doubt, and what committing it will do.
SELECT branch, changeset, sequences, shapes, ours, at FROM finality_intent ORDER BY at;

-- name: intend
-- Keep a branch that has voted yes.
INSERT INTO finality_intent (branch, changeset, sequences, shapes, ours, at) VALUES (?, ?, ?, ?, ?, ?);

-- name: unintend
-- A branch is in doubt no more.
DELETE FROM finality_intent WHERE branch = ?;

-- name: found
-- Whether a branch is in doubt, and what it has done, in one look.
SELECT EXISTS (SELECT 1 FROM finality_intent WHERE branch = ?1),
       (SELECT outcome FROM finality_branch WHERE branch = ?1);

-- name: witness_branch
-- Record what a branch has done.
INSERT INTO finality_branch (branch, outcome, at) VALUES (?, ?, ?);

-- name: advance_sequence
-- Let AUTOINCREMENT give no number twice.
UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1;

-- name: begin_sequence
-- The same, for a table that has given none yet.
INSERT INTO sqlite_sequence (name, seq) SELECT ?1, ?2
WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?1);

-- name: keep_out_counts
-- How many triggers that keep others out each table has.
SELECT tbl_name, count(*) FROM main.sqlite_schema
WHERE type = 'trigger' AND name GLOB 'finality_keep_out_*' GROUP BY tbl_name;

-- name: keep_out_names
-- Those triggers.
SELECT name FROM main.sqlite_schema WHERE type = 'trigger' AND name GLOB 'finality_keep_out_*';

-- name: prune
-- Forget some witnesses of branches that were over before a time.
DELETE FROM finality_branch WHERE branch IN (SELECT branch FROM finality_branch WHERE at < ? LIMIT ?);
