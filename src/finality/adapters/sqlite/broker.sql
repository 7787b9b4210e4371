-- Every statement of the SQLite broker, under its name and one line of purpose.

-- name: topic
-- A topic by name.
SELECT topic, partitions FROM finality_topic WHERE name = ?;

-- name: declare
-- Make a topic, unless it is there.
INSERT INTO finality_topic (name, partitions) VALUES (?, ?) ON CONFLICT (name) DO NOTHING;

-- name: store
-- Keep an event, unless it was published before.
INSERT INTO finality_topic_event
    (topic, partition, id, source, type, key, time, content_type, traceparent, correlation_id,
     causation_id, extensions, data, stored_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: newest
-- The last position of all.
SELECT coalesce(max(position), 0) FROM finality_topic_event;

-- name: arrived
-- Where there is something new behind a position, up to where that is so, and how much.
SELECT topic, partition, max(position), count(*) FROM (
    SELECT topic, partition, position FROM finality_topic_event
    WHERE position > ? ORDER BY position LIMIT ?)
GROUP BY 1, 2;

-- name: join
-- Let a group have progress in a partition.
INSERT INTO finality_topic_group (topic, name, partition, read_to, holder) VALUES (?, ?, ?, 0, 0)
ON CONFLICT DO NOTHING;

-- name: hold
-- Give a partition to whoever subscribes.
UPDATE finality_topic_group SET holder = holder + 1 WHERE topic = ? AND name = ? AND partition = ?
RETURNING progress, holder;

-- name: let_go
-- Give again at once what somebody has who is gone.
UPDATE finality_delivery SET due = 0 WHERE progress = ? AND due IS NULL;

-- name: progress
-- Up to where a group was given a partition, and who holds it.
SELECT read_to, holder FROM finality_topic_group WHERE progress = ?;

-- name: again
-- What is due to be given again, in order.
SELECT e.id, e.source, e.type, e.data, e.key, e.time, e.content_type, e.traceparent, e.correlation_id,
    e.causation_id, e.extensions, e.position, d.attempt + 1
FROM finality_delivery d JOIN finality_topic_event e ON e.position = d.position
WHERE d.progress = ? AND d.due <= ? ORDER BY d.position LIMIT ?;

-- name: read
-- What a partition holds behind a position, in order.
SELECT id, source, type, data, key, time, content_type, traceparent, correlation_id,
    causation_id, extensions, position, 1
FROM finality_topic_event WHERE topic = ? AND partition = ? AND position > ? ORDER BY position LIMIT ?;

-- name: give
-- Note that the group has an event in hand.
INSERT INTO finality_delivery (progress, position, attempt, due) VALUES (?, ?, ?, NULL)
ON CONFLICT (progress, position) DO UPDATE SET attempt = excluded.attempt, due = NULL;

-- name: read_to
-- Move a group's progress on.
UPDATE finality_topic_group SET read_to = ? WHERE progress = ?;

-- name: next_due
-- When something is to be given again, if anything is.
SELECT min(due) FROM finality_delivery WHERE progress = ?;

-- name: done
-- Note that the group is done with an event.
DELETE FROM finality_delivery WHERE progress = ? AND position = ?;

-- name: put_back
-- Give an event again when it is due, unless somebody else has it by now.
UPDATE finality_delivery SET due = ? WHERE progress = ? AND position = ? AND due IS NULL
    AND EXISTS (SELECT 1 FROM finality_topic_group WHERE progress = ? AND holder = ?);

-- name: lag
-- How many events a group has not acknowledged; null when it has never been here.
SELECT sum(
    (SELECT count(*) FROM finality_topic_event e
     WHERE e.topic = g.topic AND e.partition = g.partition AND e.position > g.read_to)
    + (SELECT count(*) FROM finality_delivery d WHERE d.progress = g.progress))
FROM finality_topic_group g WHERE g.topic = ? AND g.name = ?;

-- name: count
-- How many events a topic holds.
SELECT count(*) FROM finality_topic_event WHERE topic = ?;

-- name: floors
-- Up to where all groups of a partition are done, if its oldest event was stored before a time.
SELECT topic, partition,
    min(coalesce((SELECT min(position) - 1 FROM finality_delivery d WHERE d.progress = g.progress), read_to))
FROM finality_topic_group g GROUP BY topic, partition
HAVING (SELECT stored_at FROM finality_topic_event e
        WHERE e.topic = g.topic AND e.partition = g.partition ORDER BY position LIMIT 1) < ?;

-- name: prune
-- Forget the oldest events that everybody is done with, as far as they were kept long enough.
DELETE FROM finality_topic_event WHERE position IN (
    SELECT position FROM (
        SELECT position, stored_at FROM finality_topic_event
        WHERE topic = ? AND partition = ? AND position <= ? ORDER BY position LIMIT ?)
    WHERE stored_at < ?);
