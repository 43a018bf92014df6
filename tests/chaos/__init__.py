"""Three workers, a real livekit-server, the stand-in for its SIP service, and everything that can go wrong, drawn by seed.

python -m tests.chaos [--calls 2000] [--faults 200] [--seed 1]        (make chaos)
python -m tests.chaos --breaches [--only "the fence"]

world.py      the processes: Postgres, livekit-server, stand-in, agents, workers, and what they are set up with
places.py     the places of the workers: configuration, wires, switches
wires.py      TCP connections that can be cut, delayed, held, or lose the answer to a request
agent.py      the agents
worker.py     a daemon with a switch at each named step of a call; the program itself is not changed
steps.py      the names of the steps
faults.py     what goes wrong and when, from the seed
traffic.py    the calls: what numbers do, who cancels, who says "do not call me"
desk.py       an operator who stops an account, the trunk, agents or everything for a moment
limits.py     what may be in use at once, watched all the time
verdict.py    what must never have happened, from the ledger and the database
forbidden.py    of this, what the last gate and circuits forbid: pauses, time, windows, spacing, caps, open circuits

breaches.py   each protection taken out in turn: the verdict must find the breach
statements.py   the database's protections, cut out of copies of its functions
rehearsal.py    a database, hands that take each step when told, and a far end on paper
scenarios.py    what goes wrong there without a protection of claim, intent, end and recovery
gate_scenes.py    without a protection of the gate, or a circuit
sweep_scenes.py   without the sweep's two, which are the program's
removals.py     the program's protections, taken out of a worker's process
staging.py      what goes wrong without one, with real workers and a real media server
"""
