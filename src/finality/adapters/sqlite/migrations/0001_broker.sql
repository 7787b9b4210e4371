-- What a broker keeps in a file of its own: topics, their events, and how far each group is.

CREATE TABLE finality_topic (
    topic      INTEGER PRIMARY KEY,  -- the short name that other tables use
    name       TEXT NOT NULL UNIQUE,
    partitions INTEGER NOT NULL
);

CREATE TABLE finality_topic_event (
    position       INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order of commits; never given twice
    topic          INTEGER NOT NULL,
    partition      INTEGER NOT NULL,
    id             TEXT NOT NULL,     -- from here on: the attributes of CloudEvents
    source         TEXT NOT NULL,
    type           TEXT NOT NULL,
    key            TEXT NOT NULL,
    time           REAL NOT NULL,
    content_type   TEXT NOT NULL,
    traceparent    TEXT,
    correlation_id TEXT,
    causation_id   TEXT,
    extensions     TEXT,              -- a JSON object; null when there are none
    data           BLOB NOT NULL,
    stored_at      REAL NOT NULL
);

CREATE INDEX finality_topic_event_place ON finality_topic_event (topic, partition);

-- An event published again is known by its id. Its time comes first, so that this index grows at its
-- end: ids are random, and each would dirty a page of its own.
CREATE UNIQUE INDEX finality_topic_event_once ON finality_topic_event (time, id, source, topic);

CREATE TABLE finality_topic_group (
    progress  INTEGER PRIMARY KEY,   -- the short name of a group's progress in one partition
    topic     INTEGER NOT NULL,
    name      TEXT NOT NULL,         -- of the group
    partition INTEGER NOT NULL,
    read_to   INTEGER NOT NULL,      -- the last position that it was given
    holder    INTEGER NOT NULL,      -- counts who has subscribed: nobody but the last one is given anything
    UNIQUE (topic, name, partition)
);

CREATE TABLE finality_delivery (
    progress INTEGER NOT NULL,
    position INTEGER NOT NULL,       -- of an event that was given and is not acknowledged
    attempt  INTEGER NOT NULL,       -- how often it was given
    due      REAL,                   -- when it is given again; null while somebody has it
    PRIMARY KEY (progress, position)
) WITHOUT ROWID;
