-- Every statement of the MariaDB participant, under its name and one line of purpose.
-- What stands in braces is ours and quoted, never a user's value.

-- name: find_table
-- Whether the witness's table is there.
SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'finality_branch'

-- name: create_table
-- The witness: one row for each branch that committed here, or that was given up before it could.
CREATE TABLE IF NOT EXISTS finality_branch (
    transaction_id varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- the transaction
    home           varchar(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- the home store that decides it
    branch         varchar(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- the participant, and the number
    outcome        varchar(6) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,  -- voted, before it committed; commit, if it
                                                                               -- was the only one; abort, if given up
    at             timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),         -- when the branch wrote it
    PRIMARY KEY (transaction_id, home, branch),
    KEY finality_branch_at (at)
) ENGINE = InnoDB

-- name: begin
-- Begin a branch.
XA START {xid}

-- name: limit_idle
-- The server aborts what is abandoned for longer; MariaDB only.
SET SESSION idle_transaction_timeout = {seconds}

-- name: testify_vote
-- The witness of a branch that votes, seen once it has committed.
INSERT INTO {schema}finality_branch (transaction_id, home, branch, outcome)
VALUES ({transaction}, {home}, {branch}, 'voted')

-- name: testify
-- The witness of a branch that commits in one phase: its own commit is the decision.
INSERT INTO {schema}finality_branch (transaction_id, home, branch, outcome)
VALUES ({transaction}, {home}, {branch}, 'commit')

-- name: mark
-- Say which session holds the branch, so that others can end that session if it is left behind.
DO GET_LOCK({mark}, 0)

-- name: unmark
-- Say so no more.
DO RELEASE_LOCK({mark})

-- name: holder
-- Which session holds the branch.
SELECT IS_USED_LOCK({mark})

-- name: end
-- End the branch's work.
XA END {xid}

-- name: prepare
-- Vote yes: from here on the branch outlives its session and the server's death.
XA PREPARE {xid}

-- name: commit_alone
-- Commit in one phase.
XA COMMIT {xid} ONE PHASE

-- name: commit_prepared
-- Finish it, from its own session, or from any once that one has ended.
XA COMMIT {xid}

-- name: abort_prepared
-- Likewise; also a branch whose work has ended, in its own session.
XA ROLLBACK {xid}

-- name: peek
-- Let the next statement see what is not committed yet.
SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED

-- name: age
-- How old the witness of a branch in doubt is: XA itself keeps no time.
SELECT TIMESTAMPDIFF(MICROSECOND, at, CURRENT_TIMESTAMP(6)) / 1e6 FROM finality_branch
WHERE transaction_id = {transaction} AND home = {home} AND branch = {branch}

-- name: recover
-- All prepared branches of the server.
XA RECOVER

-- name: kill
-- End a session.
KILL CONNECTION {session}

-- name: give_up
-- Take the witness's place, so that the branch never commits; waits for one that is about to.
INSERT INTO finality_branch (transaction_id, home, branch, outcome)
VALUES ({transaction}, {home}, {branch}, 'abort') ON DUPLICATE KEY UPDATE outcome = outcome

-- name: outcome
-- What the witness says; waits for one that is about to be there.
SELECT outcome FROM finality_branch
WHERE transaction_id = {transaction} AND home = {home} AND branch = {branch} LOCK IN SHARE MODE

-- name: committed
-- What has voted and committed lately, newest first; a look that waits for no lock.
SELECT transaction_id, home, branch FROM finality_branch
WHERE outcome = 'voted' AND at > CURRENT_TIMESTAMP(6) - INTERVAL {seconds} SECOND ORDER BY at DESC LIMIT {rows}

-- name: old
-- Witnesses that nobody can ask for any more; a look that waits for no lock.
SELECT transaction_id, home, branch FROM finality_branch
WHERE at < CURRENT_TIMESTAMP(6) - INTERVAL {seconds} SECOND LIMIT {rows}

-- name: forget
-- Forget one of them; by its key, so that no lock of a branch in doubt is in the way.
DELETE FROM finality_branch WHERE transaction_id = {transaction} AND home = {home} AND branch = {branch}

-- name: known_words
-- Which of a statement's words are views, functions, or tables of an engine that does not take part in XA.
SELECT t.table_name, t.engine FROM information_schema.tables t
LEFT JOIN information_schema.engines e ON e.engine = t.engine
WHERE (t.table_schema = DATABASE() OR UPPER(t.table_schema) IN ({words})) AND UPPER(t.table_name) IN ({words})
    AND t.table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')
    AND (t.table_type = 'VIEW' OR COALESCE(e.xa, 'NO') <> 'YES')
UNION ALL
SELECT r.routine_name, NULL FROM information_schema.routines r
WHERE (r.routine_schema = DATABASE() OR UPPER(r.routine_schema) IN ({words})) AND UPPER(r.routine_name) IN ({words})

-- name: settings
-- What the promises rest on.
SELECT @@version, @@innodb_flush_log_at_trx_commit, @@log_bin, @@sync_binlog
