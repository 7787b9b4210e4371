-- What the home store carries on top: the journal, and how a node finds its work.

CREATE TABLE finality_node (
    node        INTEGER PRIMARY KEY, -- the short name that other tables use
    id          TEXT NOT NULL UNIQUE,
    host        TEXT NOT NULL,
    process     INTEGER NOT NULL,    -- its process id on that host
    drives      TEXT NOT NULL,       -- the kind@version definitions it can drive, one a line
    joined_at   REAL NOT NULL,
    lease_until REAL NOT NULL        -- 0 once it has left
);

CREATE TABLE finality_definition (
    definition INTEGER PRIMARY KEY,
    kind       TEXT NOT NULL,        -- the saga's name
    version    TEXT NOT NULL,        -- derived from its shape
    graph      TEXT NOT NULL,        -- the shape, as JSON
    UNIQUE (kind, version)
);

CREATE TABLE finality_stream (
    stream     INTEGER PRIMARY KEY,  -- sequential, so that streams of one time share a page
    name       TEXT NOT NULL UNIQUE,
    version    INTEGER NOT NULL,     -- of its last event; a transaction's, when its head was renewed last
    definition INTEGER,              -- null when it is no transaction
    status     TEXT,
    open       INTEGER,              -- 1 until it has ended, then null
    wake_at    REAL,                 -- null when it has something to do now, or has ended
    driver     INTEGER,              -- the node that drives it; null while nobody does
    parent     INTEGER,              -- the transaction whose step it is
    started_at REAL,
    note       TEXT                  -- why no node can drive it
);

CREATE INDEX finality_stream_open ON finality_stream (driver, wake_at) WHERE open = 1;
CREATE INDEX finality_stream_parent ON finality_stream (parent) WHERE parent IS NOT NULL;
CREATE INDEX finality_stream_attention ON finality_stream (status)
    WHERE status IN ('stuck', 'parked');

CREATE TABLE finality_event (
    position INTEGER PRIMARY KEY,    -- in commit order: there is one writer at a time
    stream   INTEGER NOT NULL,
    version  INTEGER NOT NULL,
    type     TEXT NOT NULL,
    data     BLOB NOT NULL,          -- JSON
    at       REAL NOT NULL,          -- seconds since the Unix epoch
    node     INTEGER NOT NULL,       -- who wrote it
    UNIQUE (stream, version)
);

CREATE TABLE finality_lock (         -- semantic locks, held from a step to the end of its saga
    resource TEXT PRIMARY KEY,
    stream   INTEGER NOT NULL,
    at       REAL NOT NULL
) WITHOUT ROWID;

CREATE INDEX finality_lock_stream ON finality_lock (stream);
