-- Events: an outbox that is read in shares, how far each reader has come, and what is parked.

-- AUTOINCREMENT: a position is never given twice, also when everything behind a cursor was pruned.
-- What has a default may be left out by a foreign writer that knows Debezium's five columns.
CREATE TABLE finality_outbox_new (
    position      INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL DEFAULT (lower(hex(randomblob(16)))), -- of the event, for deduplication
    aggregatetype TEXT NOT NULL,     -- the topic
    aggregateid   TEXT NOT NULL,     -- the key: order is kept within it
    type          TEXT NOT NULL,     -- of the event
    payload       BLOB NOT NULL,
    headers       TEXT NOT NULL DEFAULT '{}', -- further attributes of CloudEvents, as JSON
    at            REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0), -- since the Unix epoch
    share         INTEGER NOT NULL DEFAULT 0  -- which share of the relay's work it is: one key, one share
);
INSERT INTO finality_outbox_new (position, id, aggregatetype, aggregateid, type, payload, at)
SELECT position, id, aggregatetype, aggregateid, type, payload, at FROM finality_outbox;
DROP TABLE finality_outbox;
ALTER TABLE finality_outbox_new RENAME TO finality_outbox;
CREATE INDEX finality_outbox_share ON finality_outbox (share);

CREATE TABLE finality_delayed (      -- events that go into the outbox later
    delayed INTEGER PRIMARY KEY,
    topic   TEXT NOT NULL,
    key     TEXT NOT NULL,
    type    TEXT NOT NULL,
    data    BLOB NOT NULL,
    headers TEXT NOT NULL,
    due_at  REAL NOT NULL
);
CREATE INDEX finality_delayed_due ON finality_delayed (due_at);

CREATE TABLE finality_reader (
    reader      TEXT NOT NULL,
    share       INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,    -- grows with every new holder
    cursor      TEXT NOT NULL,       -- how far it has come
    node        TEXT,                -- who holds the lease; null while nobody does
    lease_until REAL NOT NULL,
    updated_at  REAL NOT NULL,
    PRIMARY KEY (reader, share)
) WITHOUT ROWID;

CREATE TABLE finality_parked (       -- events that were put aside, and those of their keys behind them
    place      INTEGER PRIMARY KEY AUTOINCREMENT,
    reader     TEXT NOT NULL,
    topic      TEXT NOT NULL,
    key        TEXT NOT NULL,
    id         TEXT NOT NULL,        -- the event's
    attributes TEXT NOT NULL,        -- of CloudEvents, as JSON
    data       BLOB NOT NULL,
    because    TEXT NOT NULL,        -- empty: only because another one of its key is parked
    attempts   INTEGER NOT NULL,
    parked_at  REAL NOT NULL,
    retry_at   REAL                  -- null: when a person says so
);
CREATE INDEX finality_parked_key ON finality_parked (reader, topic, key, place);
CREATE INDEX finality_parked_retry ON finality_parked (reader, retry_at) WHERE retry_at IS NOT NULL;

CREATE INDEX finality_witness_reaction ON finality_witness (at) WHERE operation = 'reaction';
