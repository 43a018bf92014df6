"""A carrier whose callees follow scripts: for demos, load and tests. No phone rings.

    steps.py     what a callee can do, and the Script that puts it in order
    scripts.py   the catalogue: the documented test numbers and their scripts
    callees.py   the test numbers by name, for tests and examples
    mix.py       what any other number does: drawn from a realistic mix, always the same for one seed
    audio.py     what a script sounds like, as 20 ms frames
    voices.py    the recordings that speech is cut from
    signals.py   what a media server makes of a callee's answer
    plans.py     dial plans that nobody could carry out
    agenda.py    what is yet to happen in a room, by one timer
    agents.py    simulated agents and how they behave
    leg.py       one callee's script, played
    hearing.py   what detectors make of a script, told at its times
    messages.py  messages that are left
    room.py      one room with its agent and its leg
    faults.py    troubles of the media server that tests ask for
    carrier.py   the port: the rooms that exist and the dials that were received

It must not know the real carriers (sip.livekit), nor anything of the orchestrator: end reasons appear here as plain strings.
"""
