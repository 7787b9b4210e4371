-- What every store carries beside the user's own tables.

CREATE TABLE finality_witness (
    transaction_id text NOT NULL,    -- the transaction
    branch         text NOT NULL,    -- its step, or step[item]
    operation      text NOT NULL,    -- action or compensation
    answer         text NOT NULL,    -- what a repeated call must return, as JSON
    at             float8 NOT NULL,  -- seconds since the Unix epoch
    PRIMARY KEY (transaction_id, branch, operation)
);

CREATE INDEX finality_witness_hold ON finality_witness (at) WHERE operation = 'hold';

CREATE TABLE finality_outbox (       -- the layout that Debezium's outbox router reads
    position      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id            text NOT NULL,     -- of the event, for deduplication
    aggregatetype text NOT NULL,     -- the topic
    aggregateid   text NOT NULL,     -- the key: order is kept within it
    type          text NOT NULL,     -- of the event
    payload       bytea NOT NULL,    -- JSON
    at            float8 NOT NULL,   -- seconds since the Unix epoch
    xid           xid8 NOT NULL DEFAULT pg_current_xact_id()
);

CREATE TABLE finality_line (         -- how a node whose COMMIT was not answered learns what became of it
    id    text PRIMARY KEY,          -- of the line on which one process writes
    batch bigint NOT NULL,           -- the last one that has committed on it
    at    float8 NOT NULL            -- seconds since the Unix epoch
) WITH (fillfactor = 50);
