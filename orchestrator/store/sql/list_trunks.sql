-- list_trunks: trunks by name, or trunk $1 alone, with limits, counters and circuit. Uses: trunks_name_key. Locks nothing.
SELECT t.id AS trunk_id, t.name AS trunk, t.sip_trunk_id, t.caller_ids::text[] AS trunk_caller_ids, t.preconnect_voicemail,
       t.preconnect_voicemail_codes, t.min_ring_s, t.max_ring_s, t.busy_means_declined, t.patterns::text AS patterns,
       t.caller_id_cap, a.name AS owner, c.enabled, c.max_channels, c.max_cps, c.dial_slack_ms, c.channels,
       c.circuit_until, c.circuit_until <= clock_timestamp() AS half_open, c.circuit_openings, c.circuit_why
  FROM trunks t
  JOIN trunk_channels c ON c.trunk_id = t.id
  LEFT JOIN accounts a ON a.id = t.owner_account_id
 WHERE $1::text IS NULL OR t.name = $1
 ORDER BY t.name
