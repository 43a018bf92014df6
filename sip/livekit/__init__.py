"""The carrier that dials through LiveKit's SIP service.

    carrier.py    the port's `Carrier`: opens rooms, dials, closes, lists
    api.py        LiveKit's server API with a time limit on every call and errors that say what to do
    failures.py   what a failed dial request proves
    requests.py   the requests that we send, made from plans
    rooms.py      names, marks and views of rooms: who is in there
    room.py       one room: its agents, its events
    adopted.py    one leg that another worker dialled
    leg.py        one leg: from looks, notices and the request's answer to the events of a leg
    watch.py      one sweep over all rooms; the table of which signal decides what
    webhooks.py   LiveKit's webhooks: checked, deduplicated, hints only
    checks.py     `orchestrator check`: connection, key, fence, trunks, webhooks
    timings.py    how long and how often
    orders.py     what a leg has done to its room: deleted, played into, told of a verdict
    listening/    child processes that hear the callees and run detectors
    endsignal.py  the end signal, for agents
    hearing.py    what we tell agents of the callee, for agents

Nothing here knows accounts, queues or Postgres, and no audio enters this process.
"""
