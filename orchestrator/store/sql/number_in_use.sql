-- number_in_use: the accounts and trunks that have the number $1 as a caller id, and whether a do-not-call list has it.
-- Reads accounts and trunks whole. Uses: do_not_call's key. Locks nothing.
SELECT ARRAY(SELECT name FROM accounts WHERE $1::text = ANY (caller_ids) ORDER BY name) AS accounts,
       ARRAY(SELECT name FROM trunks WHERE $1::text = ANY (caller_ids) ORDER BY name) AS trunks,
       EXISTS (SELECT FROM do_not_call
                WHERE number_key = number_key($1) AND (expires_at IS NULL OR expires_at > clock_timestamp())) AS listed
