-- What the home store carries on top: the journal, and how a node finds its work.

CREATE TABLE finality_node (
    node        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the short name that other tables use
    id          text NOT NULL UNIQUE,
    host        text NOT NULL,
    process     bigint NOT NULL,     -- its process id on that host
    drives      text NOT NULL,       -- the kind@version definitions it can drive, one a line
    joined_at   float8 NOT NULL,
    lease_until float8 NOT NULL      -- 0 once it has left
);

CREATE TABLE finality_definition (
    definition bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text NOT NULL,        -- the saga's name
    version    text NOT NULL,        -- derived from its shape
    graph      text NOT NULL,        -- the shape, as JSON
    UNIQUE (kind, version)
);

CREATE SEQUENCE finality_stream_key;

CREATE TABLE finality_stream (
    stream     bigint PRIMARY KEY,   -- sequential, so that streams of one time share a page
    name       text COLLATE "C" NOT NULL UNIQUE,
    version    bigint NOT NULL,      -- of its last event; a transaction's, when its head was renewed last
    definition bigint,               -- null when it is no transaction
    status     text,
    open       boolean,              -- true until it has ended, then null
    wake_at    float8,               -- null when it has something to do now, or has ended
    driver     bigint,               -- the node that drives it; null while nobody does
    parent     bigint,               -- the transaction whose step it is
    started_at float8,
    note       text                  -- why no node can drive it
) WITH (fillfactor = 70);            -- the row of a stream that is no transaction moves on with each append

CREATE INDEX finality_stream_open ON finality_stream (driver, wake_at) WHERE open;
CREATE INDEX finality_stream_parent ON finality_stream (parent) WHERE parent IS NOT NULL;
CREATE INDEX finality_stream_attention ON finality_stream (status) WHERE status IN ('stuck', 'parked');

CREATE TABLE finality_event (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- taken before the commit: no cursor by itself
    stream   bigint NOT NULL,
    version  bigint NOT NULL,
    type     text NOT NULL,
    data     bytea NOT NULL,         -- JSON
    at       float8 NOT NULL,        -- seconds since the Unix epoch
    node     bigint NOT NULL,        -- who wrote it
    xid      xid8 NOT NULL DEFAULT pg_current_xact_id(), -- the transaction that a snapshot shows or hides
    UNIQUE (stream, version)
);

CREATE INDEX finality_event_xid ON finality_event (xid);

CREATE TABLE finality_lock (         -- semantic locks, held from a step to the end of its saga
    resource text PRIMARY KEY,
    stream   bigint NOT NULL,
    at       float8 NOT NULL
);

CREATE INDEX finality_lock_stream ON finality_lock (stream);
