-- list_accounts: accounts by name, or account $1 alone, with limits and counters. Uses: accounts_name_key. Locks nothing.
SELECT a.id, a.name, a.country, a.allowed_countries, a.allowed_specials, a.caller_ids::text[] AS caller_ids, a.agent_name,
       a.ring_timeout_s, a.max_duration_s, a.trust_agent_leave, g.name AS trunk, a.calling_hours, a.closed_on_holidays,
       a.dial_unknown_zone, a.max_attempts, a.redial_delays::text AS redial_delays, a.redial_jitter, a.number_gap_s,
       a.number_most_dials, a.number_window_s, a.caller_id_choice, a.caller_id_cap, a.detection::text AS detection, s.max_concurrent, s.reserved, s.weight, s.paused,
       s.inflight, s.inbound, coalesce((SELECT sum(l.ready) FROM lanes l WHERE l.account_id = a.id), 0)::bigint AS ready
  FROM accounts a
  JOIN account_slots s ON s.account_id = a.id
  LEFT JOIN trunk_groups g ON g.id = a.trunk_group_id
 WHERE $1::text IS NULL OR a.name = $1
 ORDER BY a.name
