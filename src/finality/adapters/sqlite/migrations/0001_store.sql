-- What every store carries beside the user's own tables.

CREATE TABLE finality_witness (
    transaction_id TEXT NOT NULL,    -- the transaction
    branch         TEXT NOT NULL,    -- its step, or step[item]
    operation      TEXT NOT NULL,    -- action or compensation
    answer         TEXT NOT NULL,    -- what a repeated call must return, as JSON
    at             REAL NOT NULL,    -- seconds since the Unix epoch
    PRIMARY KEY (transaction_id, branch, operation)
) WITHOUT ROWID;

CREATE TABLE finality_outbox (       -- the layout that Debezium's outbox router reads
    position      INTEGER PRIMARY KEY,
    id            TEXT NOT NULL,     -- of the event, for deduplication
    aggregatetype TEXT NOT NULL,     -- the topic
    aggregateid   TEXT NOT NULL,     -- the key: order is kept within it
    type          TEXT NOT NULL,     -- of the event
    payload       BLOB NOT NULL,     -- JSON
    at            REAL NOT NULL      -- seconds since the Unix epoch
);
