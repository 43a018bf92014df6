-- describe_cluster: what `check` wants to know of the server: who it is, whether dialling is held, and whether what it has committed
-- survives a crash, as seen by our own sessions. Locks nothing.
SELECT i.system_identifier, i.timeline, s.held_why, s.stopped_why, same_cluster() AS same,
       current_setting('synchronous_commit') AS synchronous_commit, current_setting('fsync') AS fsync
  FROM cluster_identity() i
 CROSS JOIN switches s
