-- Event sourcing: what is known of an event besides, what it can be found by, and states kept in between.

ALTER TABLE finality_event ADD COLUMN meta bytea; -- JSON; null when nothing is known besides

CREATE TABLE finality_tag (          -- what events can be found by, across streams
    tag     text COLLATE "C" NOT NULL, -- name:value
    stream  bigint NOT NULL,
    version bigint NOT NULL,
    type    text NOT NULL,           -- of the event, without its version
    PRIMARY KEY (tag, stream, version)
);

CREATE TABLE finality_snapshot (     -- the last one of each stream
    stream  bigint PRIMARY KEY,
    version bigint NOT NULL,
    shape   text NOT NULL,           -- of the state; one of another shape is not read
    data    bytea NOT NULL,          -- JSON
    at      float8 NOT NULL          -- seconds since the Unix epoch
);

CREATE TABLE finality_subject (      -- whose personal data is kept, and the key that opens it
    subject text PRIMARY KEY,
    key     bytea,                   -- sealed with the node's secret key; null once forgotten
    at      float8 NOT NULL          -- seconds since the Unix epoch
);
