-- The demo's invariants: each statement returns what breaks it, so that no row is good news.
--
-- `ended` holds the sagas that had ended before any other database was read: nothing of them changes
-- any more, so that the books of four databases can be compared while the bank goes on working.

-- name: money_conserved
-- accounts + in flight + paid out is what the bank began with
SELECT 'the bank began with ' || opening || ' cents; accounts ' || balance || ' + in flight ' || flight
    || ' + paid out ' || paid || ' is ' || (balance + flight + paid)
FROM (
    SELECT
        (SELECT sum(opening) FROM accounts.account) AS opening,
        (SELECT sum(cents) FROM accounts.account) AS balance,
        (SELECT -ifnull(sum(m.cents), 0) FROM accounts.movement m
         WHERE NOT EXISTS (SELECT 1 FROM ended e WHERE e.id = m.saga)) AS flight,
        (SELECT ifnull(sum(p.cents), 0) FROM payments.movement p
         WHERE EXISTS (SELECT 1 FROM ended e WHERE e.id = p.saga)) AS paid
)
WHERE opening <> balance + flight + paid;

-- name: balances_add_up
-- each balance is its opening and its movements, none below zero
SELECT 'account ' || a.id || ' has ' || a.cents || ' cents, not ' || (a.opening + ifnull(m.cents, 0))
FROM accounts.account a
LEFT JOIN (SELECT account, sum(cents) AS cents FROM accounts.movement GROUP BY account) m ON m.account = a.id
WHERE a.cents <> a.opening + ifnull(m.cents, 0) OR a.cents < 0;

-- name: double_entry_sums_to_zero
-- the lines of each ledger entry sum to zero
SELECT 'the ' || kind || ' of ' || saga || ' sums to ' || sum(cents) || ' cents in ' || count(*) || ' lines'
FROM ledger.line GROUP BY saga, kind HAVING sum(cents) <> 0 OR count(*) % 2 <> 0;

-- name: every_debit_has_one_payment_or_one_refund
-- each debit ended in one payment or one refund, never in both
SELECT 'the debit of ' || saga || ' has ' || settled || ' payments and ' || undone || ' refunds'
FROM (
    SELECT
        d.saga,
        (SELECT count(*) FROM accounts.movement m WHERE m.saga = d.saga AND m.kind = 'credit')
        + (SELECT ifnull(sum(CASE p.kind WHEN 'payment' THEN 1 ELSE -1 END), 0) FROM payments.movement p
           WHERE p.saga = d.saga) AS settled,
        (SELECT count(*) FROM accounts.movement m WHERE m.saga = d.saga AND m.kind = 'debit undone') AS undone
    FROM accounts.movement d JOIN ended e ON e.id = d.saga
    WHERE d.kind = 'debit' GROUP BY d.saga
)
WHERE (settled, undone) NOT IN (VALUES (1, 0), (0, 1));

-- name: all_or_nothing
-- a completed saga left all its effects, a compensated one none
SELECT id || ' is ' || status || ' and left ' || debited || ' cents debited, ' || given
    || ' given to somebody, ' || booked || ' booked'
FROM (
    SELECT
        e.id, e.status,
        (SELECT -ifnull(sum(m.cents), 0) FROM accounts.movement m
         WHERE m.saga = e.id AND m.kind <> 'credit') AS debited,
        (SELECT ifnull(sum(m.cents), 0) FROM accounts.movement m
         WHERE m.saga = e.id AND m.kind = 'credit')
        + (SELECT ifnull(sum(p.cents), 0) FROM payments.movement p WHERE p.saga = e.id) AS given,
        (SELECT ifnull(sum(CASE WHEN l.kind = 'entry' THEN max(l.cents, 0) ELSE -max(l.cents, 0) END), 0)
         FROM ledger.line l WHERE l.saga = e.id) AS booked
    FROM ended e
)
WHERE debited <> given OR debited <> booked OR (debited > 0) <> (status = 'completed');

-- name: notified_exactly_once
-- each completed saga told its customer so exactly once
SELECT e.id || ' is ' || e.status || ' and sent ' || count(n.saga) || ' notifications'
FROM ended e LEFT JOIN notifications.notification n ON n.saga = e.id
GROUP BY e.id HAVING count(n.saga) <> (e.status = 'completed');

-- name: nothing_lost
-- each saga that was started is there, and ends
SELECT s.id || CASE WHEN h.name IS NULL THEN ' was started and is gone' ELSE ' has not ended' END
FROM started s LEFT JOIN home.finality_stream h ON h.name = 'transaction/' || s.id
WHERE h.name IS NULL OR (h.open IS NOT NULL AND (SELECT is_final FROM moment));

-- name: nothing_doubled
-- no saga did anything twice, in any database
SELECT saga || ' did ' || what || ' ' || times || ' times'
FROM (
    SELECT saga, 'the ' || kind || ' at accounts' AS what, count(*) AS times
    FROM accounts.movement GROUP BY saga, kind
    UNION ALL
    SELECT saga, 'the ' || kind || ' at the provider', count(*) FROM payments.movement GROUP BY saga, kind
    UNION ALL
    SELECT saga, 'the ' || kind || ' of ' || account, count(*) FROM ledger.line GROUP BY saga, kind, account
    UNION ALL
    SELECT saga, 'the notification', count(*) FROM notifications.notification GROUP BY saga
    UNION ALL
    SELECT saga, 'the clearance', count(*) FROM home.clearance GROUP BY saga
)
WHERE times > 1;
