-- Event sourcing: what is known of an event besides, what it can be found by, and states kept in between.

ALTER TABLE finality_event ADD COLUMN meta BLOB; -- JSON; null when nothing is known besides

CREATE TABLE finality_tag (          -- what events can be found by, across streams
    tag     TEXT NOT NULL,           -- name:value
    stream  INTEGER NOT NULL,
    version INTEGER NOT NULL,
    type    TEXT NOT NULL,           -- of the event, without its version
    PRIMARY KEY (tag, stream, version)
) WITHOUT ROWID;

CREATE TABLE finality_snapshot (     -- the last one of each stream
    stream  INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    shape   TEXT NOT NULL,           -- of the state; one of another shape is not read
    data    BLOB NOT NULL,           -- JSON
    at      REAL NOT NULL            -- seconds since the Unix epoch
);

CREATE TABLE finality_subject (      -- whose personal data is kept, and the key that opens it
    subject TEXT PRIMARY KEY,
    key     BLOB,                    -- sealed with the node's secret key; null once forgotten
    at      REAL NOT NULL            -- seconds since the Unix epoch
) WITHOUT ROWID;
