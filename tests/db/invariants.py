"""What is true in the database at any moment (DESIGN.md, I1 to I5): each query finds what would break its promise."""

from __future__ import annotations

from collections.abc import Mapping

INVARIANTS: Mapping[str, str] = {
    "a call has an end reason if and only if it is over (I3)": """
        SELECT id, state, end_reason FROM calls
         WHERE (end_reason IS NOT NULL) <> (state IN ('ended', 'not_connected', 'canceled'))""",
    "a call ends once (I3)": """
        SELECT call_id, count(*) FROM call_events WHERE state IN ('ended', 'not_connected', 'canceled')
         GROUP BY call_id HAVING count(*) > 1""",
    "the last event of a call says its state (I4)": """
        SELECT c.id, c.state, e.state AS event FROM calls c
         CROSS JOIN LATERAL (SELECT state FROM call_events
                              WHERE call_id = c.id AND state IS NOT NULL ORDER BY id DESC LIMIT 1) e
         WHERE e.state <> c.state""",
    "nothing follows an end, and everything begins as scheduled (I4)": """
        SELECT call_id, before, state FROM (
            SELECT call_id, state, lag(state) OVER (PARTITION BY call_id ORDER BY id) AS before
              FROM call_events WHERE state IS NOT NULL) e
         WHERE before IN ('ended', 'not_connected', 'canceled') OR (before IS NULL AND state <> 'scheduled')""",
    "an attempt ends once, and none is open when the call is over (I3)": """
        SELECT t.* FROM attempts t JOIN calls c ON c.id = t.call_id WHERE c.ended_at IS NOT NULL AND t.ended_at IS NULL""",
    "a claim dials once (I1)": "SELECT call_id, epoch FROM dials GROUP BY call_id, epoch HAVING count(*) > 1",
    "an attempt has one dial that may have rung a phone (I1)": """
        SELECT call_id, attempt FROM dials WHERE spent IS DISTINCT FROM false GROUP BY call_id, attempt HAVING count(*) > 1""",
    "nobody is called by two calls at once": """
        SELECT to_number FROM calls WHERE state IN ('dialing', 'ringing', 'active') GROUP BY to_number HAVING count(*) > 1""",
    "slots equal live calls (I5)": """
        SELECT s.account_id, s.inflight FROM account_slots s
         WHERE s.inflight <> (SELECT count(*) FROM calls c WHERE c.account_id = s.account_id
                                 AND c.state IN ('claimed', 'dialing', 'ringing', 'active') AND c.direction = 'outbound')""",
    "channels equal live calls (I5)": """
        SELECT t.trunk_id, t.channels FROM trunk_channels t
         WHERE t.channels <> (SELECT count(*) FROM calls c WHERE c.trunk_id = t.trunk_id
                                 AND c.state IN ('claimed', 'dialing', 'ringing', 'active'))""",
    "counted agents equal live calls (I5)": """
        SELECT p.name, p.inflight FROM agent_pools p
         WHERE p.inflight <> CASE WHEN p.capacity IS NULL THEN 0 ELSE
               (SELECT count(*) FROM calls c JOIN routes r ON r.id = c.route_id
                 WHERE r.agent_pool_id = p.id AND c.state IN ('claimed', 'dialing', 'ringing', 'active')) END""",
    "lanes equal ready calls (I5)": """
        SELECT l.account_id, l.route_id, l.ready, l.urgent FROM lanes l
         CROSS JOIN LATERAL (SELECT count(*) AS ready, count(*) FILTER (WHERE priority > 0) AS urgent FROM calls c
                              WHERE c.account_id = l.account_id AND c.route_id = l.route_id AND c.state = 'ready') n
         WHERE (l.ready, l.urgent) IS DISTINCT FROM (n.ready, n.urgent)""",
    "a lane that waits knows its account's room": """
        SELECT l.account_id FROM lanes l JOIN account_slots s ON s.account_id = l.account_id
         WHERE l.ready > 0 AND (l.share, l.has_room, l.has_urgent_room, l.last_claim_at)
               IS DISTINCT FROM (s.share, s.has_room, s.has_urgent_room, s.last_claim_at)""",
    "nothing that waits holds anything (I5)": """
        SELECT id FROM calls WHERE state IN ('scheduled', 'ready') AND (worker_id IS NOT NULL OR trunk_id IS NOT NULL)""",
    "a call under way has its one open dial under its own epoch": """
        SELECT c.id, c.epoch FROM calls c WHERE c.state IN ('dialing', 'ringing', 'active') AND c.direction = 'outbound'
           AND 1 <> (SELECT count(*) FROM dials d WHERE d.call_id = c.id AND d.epoch = c.epoch AND d.ended_at IS NULL)""",
    "no dial is open of a call that is not under way": """
        SELECT d.call_id, d.epoch, c.state FROM dials d JOIN calls c ON c.id = d.call_id
         WHERE d.ended_at IS NULL AND c.state NOT IN ('dialing', 'ringing', 'active')""",
}
