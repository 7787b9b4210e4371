-- Every statement of the PostgreSQL participant, under its name and one line of purpose.
-- {table} is the witness's table; names in braces are ours and quoted, never a user's value.

-- name: find_table
-- Whether the witness's table is there, and which schema it would be made in.
SELECT
    (SELECT quote_ident(n.nspname) || '.finality_branch' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = to_regclass('finality_branch')) AS table,
    quote_ident(current_schema()) AS schema

-- name: lock_schema
-- One process at a time makes the table; the number is of no other meaning.
SELECT pg_advisory_xact_lock(7021960118)

-- name: create_table
-- The witness: one row for each branch that committed here, or that was given up before it could.
CREATE TABLE IF NOT EXISTS {table} (
    transaction_id text NOT NULL,                      -- the transaction
    home           text NOT NULL,                      -- the home store that decides it
    branch         text NOT NULL,                      -- the participant's name, with the branch's number
    outcome        text NOT NULL,                      -- voted, before it committed; commit, if it was the only
                                                       -- branch; abort, if it was given up
    at             timestamptz NOT NULL DEFAULT now(), -- when the branch wrote it
    PRIMARY KEY (transaction_id, home, branch)
)

-- name: create_index
-- Old rows are found without reading all; they lie in the order of time, so a BRIN index is next to nothing.
CREATE INDEX IF NOT EXISTS finality_branch_at ON {table} USING brin (at)

-- name: create_index_of_votes
-- What has voted and committed is found newest first, to be compared with the decisions.
CREATE INDEX IF NOT EXISTS finality_branch_voted ON {table} (at) WHERE outcome = 'voted'

-- name: keep_witness
-- Plan the witness once for each connection.
PREPARE finality_witness (text, text, text, text) AS
INSERT INTO {table} (transaction_id, home, branch, outcome) VALUES ($1, $2, $3, $4)

-- name: vote
-- The witness of a branch that votes, seen once it has committed; and its yes: from here on the branch outlives its
-- session and the server's death.
EXECUTE finality_witness ({transaction}, {home}, {branch}, 'voted'); PREPARE TRANSACTION {gid}

-- name: vote_elsewhere
-- The same on another library's connection.
INSERT INTO {table} (transaction_id, home, branch, outcome) VALUES ({transaction}, {home}, {branch}, 'voted');
PREPARE TRANSACTION {gid}

-- name: commit
-- The witness of a branch that commits in one phase: its own commit is the decision.
EXECUTE finality_witness ({transaction}, {home}, {branch}, 'commit'); COMMIT

-- name: commit_elsewhere
-- The same on another library's connection.
INSERT INTO {table} (transaction_id, home, branch, outcome) VALUES ({transaction}, {home}, {branch}, 'commit'); COMMIT

-- name: commit_if_written
-- The same, without a witness if the branch has written nothing.
INSERT INTO {table} (transaction_id, home, branch, outcome)
SELECT {transaction}, {home}, {branch}, 'commit' WHERE pg_current_xact_id_if_assigned() IS NOT NULL; COMMIT

-- name: give_up
-- Take the witness's place, so that the branch never commits; waits for one that is about to.
INSERT INTO {table} (transaction_id, home, branch, outcome) VALUES ($1, $2, $3, 'abort') ON CONFLICT DO NOTHING

-- name: outcome
-- What the witness says.
SELECT outcome FROM {table} WHERE transaction_id = $1 AND home = $2 AND branch = $3

-- name: has_written
-- Whether the open transaction has written anything.
SELECT pg_current_xact_id_if_assigned() IS NOT NULL

-- name: prune
-- Forget witnesses that nobody can ask for any more.
DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE at < now() - $1::interval LIMIT $2))

-- name: committed
-- What has voted and committed lately, newest first.
SELECT transaction_id, home, branch FROM {table}
WHERE outcome = 'voted' AND at > now() - $1::interval ORDER BY at DESC LIMIT $2

-- name: in_doubt
-- The prepared transactions of this database.
SELECT gid, extract(epoch FROM clock_timestamp() - prepared)::float8 AS age, '{{}}'::text[] AS locks
FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared, gid

-- name: in_doubt_with_locks
-- The same with the locks that each holds on tables and by agreement; the server's locks are read once.
WITH held AS MATERIALIZED (
    SELECT * FROM pg_locks WHERE pid IS NULL
), locks AS (
    SELECT l.virtualtransaction, array_agg(DISTINCT l.mode || CASE l.locktype
        WHEN 'relation' THEN ' ' || l.relation::regclass::text ELSE ' advisory ' || l.objid END) AS locks
    FROM held l LEFT JOIN pg_class c ON c.oid = l.relation
    WHERE (l.locktype = 'advisory' OR c.relkind IN ('r', 'p') AND c.relname <> 'finality_branch')
        AND l.mode NOT IN ('AccessShareLock')
    GROUP BY l.virtualtransaction
)
SELECT p.gid, extract(epoch FROM clock_timestamp() - p.prepared)::float8 AS age, coalesce(l.locks, '{{}}') AS locks
FROM pg_prepared_xacts p
LEFT JOIN held x ON x.locktype = 'transactionid' AND x.transactionid = p.transaction
LEFT JOIN locks l USING (virtualtransaction)
WHERE p.database = current_database() ORDER BY p.prepared, p.gid

-- name: settings
-- What the promises rest on.
SELECT name, setting FROM pg_settings WHERE name IN
    ('max_prepared_transactions', 'fsync', 'full_page_writes', 'synchronous_commit', 'server_version')

-- name: prepared_by_others
-- How many transactions are prepared on the server, and the oldest of those that are none of ours.
SELECT count(*), min(gid) FILTER (WHERE is_old), count(*) FILTER (WHERE is_old) FROM (
    SELECT gid, gid NOT LIKE 'finality:%' AND prepared < now() - interval '1 hour' AS is_old FROM pg_prepared_xacts
) p

-- name: commit_prepared
-- Finish it, from any session.
COMMIT PREPARED {gid}

-- name: abort_prepared
-- Likewise.
ROLLBACK PREPARED {gid}
