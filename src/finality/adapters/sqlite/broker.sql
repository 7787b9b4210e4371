-- Every statement of the SQLite broker, under its name and one line of purpose.

-- name: topic
-- A topic by name.
SELECT topic, partitions FROM finality_topic WHERE name = ?;

-- name: declare
-- Make a topic, unless it is there.
INSERT INTO finality_topic (name, partitions) VALUES (?, ?) ON CONFLICT (name) DO NOTHING;

-- name: end
-- The last position that was ever given.
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'finality_topic_page'), 0);

-- name: of_time
-- The pages of a partition that may have an event of these times.
SELECT last FROM finality_topic_page WHERE topic = ? AND partition = ? AND newest >= ? AND oldest <= ?;

-- name: page
-- What a page holds.
SELECT attributes, data FROM finality_topic_page WHERE last = ?;

-- name: store
-- Keep a page.
INSERT INTO finality_topic_page (last, first, topic, partition, oldest, newest, attributes, data, stored_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: newest
-- The last position of all.
SELECT coalesce(max(last), 0) FROM finality_topic_page;

-- name: arrived
-- Where there is something new behind a position, up to where that is so, and in how many pages.
SELECT topic, partition, max(last), count(*) FROM (
    SELECT topic, partition, last FROM finality_topic_page WHERE last > ? ORDER BY last LIMIT ?)
GROUP BY 1, 2;

-- name: join
-- Let a group have progress in a partition.
INSERT INTO finality_topic_group (topic, name, partition, read_to, done_to, left, hand, holder)
VALUES (?, ?, ?, 0, 0, 0, '[]', 0) ON CONFLICT DO NOTHING;

-- name: hold
-- Give a partition to whoever subscribes.
UPDATE finality_topic_group SET holder = holder + 1 WHERE topic = ? AND name = ? AND partition = ?
RETURNING progress, holder, read_to, hand;

-- name: keep
-- Keep a group's progress, unless somebody else holds the partition by now.
UPDATE finality_topic_group SET read_to = ?3, done_to = ?4, left = ?5, hand = ?6
WHERE progress = ?1 AND holder = ?2 RETURNING progress;

-- name: holders
-- Who holds the partitions of a group.
SELECT progress, holder FROM finality_topic_group WHERE topic = ? AND name = ?;

-- name: read
-- The pages of a partition that have something behind a position, in order.
SELECT first, last, attributes, data FROM finality_topic_page
WHERE topic = ? AND partition = ? AND last > ? ORDER BY last LIMIT ?;

-- name: lag
-- How many events a group has not acknowledged; null when it has never been here.
SELECT sum(left + (
    SELECT coalesce(sum(last - max(first - 1, read_to)), 0) FROM finality_topic_page p
    WHERE p.topic = g.topic AND p.partition = g.partition AND p.last > g.read_to))
FROM finality_topic_group g WHERE g.topic = ? AND g.name = ?;

-- name: count
-- How many events a topic holds.
SELECT coalesce(sum(last - first + 1), 0) FROM finality_topic_page WHERE topic = ?;

-- name: floors
-- Up to where all groups of a partition are done, if its oldest page was stored before a time.
SELECT topic, partition, min(done_to) FROM finality_topic_group g GROUP BY topic, partition
HAVING (SELECT stored_at FROM finality_topic_page p
        WHERE p.topic = g.topic AND p.partition = g.partition ORDER BY last LIMIT 1) < ?;

-- name: prune
-- Forget the oldest pages that everybody is done with, as far as they were kept long enough.
DELETE FROM finality_topic_page WHERE last IN (
    SELECT last FROM (
        SELECT last, stored_at FROM finality_topic_page
        WHERE topic = ? AND partition = ? AND last <= ? ORDER BY last LIMIT ?)
    WHERE stored_at < ?);
