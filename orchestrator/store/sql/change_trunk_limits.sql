-- change_trunk_limits: change what is not null of the limits of trunk $1. A limit that falls below what is in use takes effect as
-- calls end. Uses: trunks_name_key, trunk_channels_pkey. Locks: the trunk's row of counters.
UPDATE trunk_channels c
   SET max_channels = coalesce($2, c.max_channels), max_cps = coalesce($3, c.max_cps),
       dial_slack_ms = coalesce($4, c.dial_slack_ms), enabled = coalesce($5, c.enabled)
  FROM trunks t
 WHERE t.name = $1 AND c.trunk_id = t.id
