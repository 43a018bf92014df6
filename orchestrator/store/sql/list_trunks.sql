-- list_trunks: trunks by name, or trunk $1 alone, with limits and counters. Uses: trunks_name_key. Locks nothing.
SELECT t.id AS trunk_id, t.name AS trunk, t.sip_trunk_id, t.caller_ids::text[] AS trunk_caller_ids, t.preconnect_voicemail,
       t.preconnect_voicemail_codes, t.min_ring_s, t.max_ring_s, t.busy_means_declined, t.patterns::text AS patterns,
       c.enabled, c.max_channels, c.max_cps, c.dial_slack_ms, c.channels
  FROM trunks t
  JOIN trunk_channels c ON c.trunk_id = t.id
 WHERE $1::text IS NULL OR t.name = $1
 ORDER BY t.name
