-- Events: an outbox that is read in shares, how far each reader has come, and what is parked.

-- What has a default may be left out by a foreign writer that knows Debezium's five columns.
ALTER TABLE finality_outbox
    ALTER COLUMN id SET DEFAULT replace(gen_random_uuid()::text, '-', ''),
    ALTER COLUMN at SET DEFAULT extract(epoch FROM clock_timestamp()),
    ADD COLUMN headers text NOT NULL DEFAULT '{}', -- further attributes of CloudEvents, as JSON
    ADD COLUMN share bigint NOT NULL DEFAULT 0;    -- which share of the relay's work it is: one key, one share
CREATE INDEX finality_outbox_share ON finality_outbox (share, xid);

CREATE TABLE finality_delayed (      -- events that go into the outbox later
    delayed bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic   text NOT NULL,
    key     text NOT NULL,
    type    text NOT NULL,
    data    bytea NOT NULL,
    headers text NOT NULL,
    due_at  float8 NOT NULL
);
CREATE INDEX finality_delayed_due ON finality_delayed (due_at);

CREATE TABLE finality_reader (
    reader      text COLLATE "C" NOT NULL,
    share       bigint NOT NULL,
    epoch       bigint NOT NULL,     -- grows with every new holder
    cursor      text NOT NULL,       -- how far it has come
    node        text,                -- who holds the lease; null while nobody does
    lease_until float8 NOT NULL,
    updated_at  float8 NOT NULL,
    PRIMARY KEY (reader, share)
) WITH (fillfactor = 50);            -- a row changes with every batch

CREATE TABLE finality_parked (       -- events that were put aside, and those of their keys behind them
    place      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reader     text NOT NULL,
    topic      text NOT NULL,
    key        text NOT NULL,
    id         text NOT NULL,        -- the event's
    attributes text NOT NULL,        -- of CloudEvents, as JSON
    data       bytea NOT NULL,
    because    text NOT NULL,        -- empty: only because another one of its key is parked
    attempts   bigint NOT NULL,
    parked_at  float8 NOT NULL,
    retry_at   float8                -- null: when a person says so
);
CREATE INDEX finality_parked_key ON finality_parked (reader, topic, key, place);
CREATE INDEX finality_parked_retry ON finality_parked (reader, retry_at) WHERE retry_at IS NOT NULL;

CREATE INDEX finality_witness_reaction ON finality_witness (at) WHERE operation = 'reaction';
