-- What a participant keeps: the branch that is in doubt, and what became of those before it.

CREATE TABLE finality_intent (       -- while it has a row, triggers keep every other writer out
    branch    TEXT PRIMARY KEY,      -- finality:home:transaction:participant
    changeset BLOB NOT NULL,         -- what committing it will do
    sequences TEXT NOT NULL,         -- how far AUTOINCREMENT has come by it: JSON, by table
    shapes    TEXT NOT NULL,         -- the columns of the tables that it changes: JSON, by table
    at        REAL NOT NULL          -- seconds since the Unix epoch
);

CREATE TABLE finality_branch (       -- the witness: written in the commit of the effect
    branch  TEXT PRIMARY KEY,
    outcome TEXT NOT NULL,           -- commit; or abort, when it was settled that it never will
    at      REAL NOT NULL            -- seconds since the Unix epoch
) WITHOUT ROWID;

CREATE INDEX finality_branch_at ON finality_branch (at);
