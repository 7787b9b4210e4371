-- What a broker keeps in a file of its own: topics, their events, and how far each group is.

CREATE TABLE finality_topic (
    topic      INTEGER PRIMARY KEY,  -- the short name that other tables use
    name       TEXT NOT NULL UNIQUE,
    partitions INTEGER NOT NULL
);

CREATE TABLE finality_topic_page (   -- events of a partition that were published together
    last       INTEGER PRIMARY KEY AUTOINCREMENT, -- position of its last event: in the order of commits,
                                     -- counted over all topics, never given twice
    first      INTEGER NOT NULL,     -- position of its first event
    topic      INTEGER NOT NULL,
    partition  INTEGER NOT NULL,
    oldest     REAL NOT NULL,        -- the earliest time of its events
    newest     REAL NOT NULL,        -- the latest one
    attributes TEXT NOT NULL,        -- a JSON array: the sizes of their data, and a column for each attribute
    data       BLOB NOT NULL,        -- of one event behind the other
    stored_at  REAL NOT NULL
);

CREATE INDEX finality_topic_page_place ON finality_topic_page (topic, partition);

-- An event published again is known by its id, in a page that has its time.
CREATE INDEX finality_topic_page_time ON finality_topic_page (topic, partition, newest, oldest);

CREATE TABLE finality_topic_group (
    progress  INTEGER PRIMARY KEY,   -- the short name of a group's progress in one partition
    topic     INTEGER NOT NULL,
    name      TEXT NOT NULL,         -- of the group
    partition INTEGER NOT NULL,
    read_to   INTEGER NOT NULL,      -- the last position that it was given
    done_to   INTEGER NOT NULL,      -- up to here it has acknowledged everything
    left      INTEGER NOT NULL,      -- how many it was given, and has not acknowledged
    hand      TEXT NOT NULL,         -- which these are, how often each was given, and when it is given again
    holder    INTEGER NOT NULL,      -- counts who has subscribed: nobody but the last one is given anything
    UNIQUE (topic, name, partition)
);
