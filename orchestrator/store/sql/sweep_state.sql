-- sweep_state: whether sweeping may end unusually many rooms ($1: so long an operator's word lasts, in seconds), and whether anything may
-- be ended at all: not while a restore waits to be confirmed, since live calls may be missing in it. Locks nothing.
SELECT s.held_at IS NOT NULL OR NOT same_cluster() AS held,
       coalesce(s.sweep_allowed_at > clock_timestamp() - $1 * interval '1 s', false) AS allowed
  FROM switches s
