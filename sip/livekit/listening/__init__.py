"""Listeners: child processes that join rooms as hidden agents, hear the callee's track and run detectors on it.

    listeners.py   the pool, in the daemon: places rooms on children, tells what they heard as events of the port
    fleet.py       keeps the children: as many as are needed, watched, replaced
    child.py       one child as the daemon sees it: started, spoken to, ended
    limits.py      how many there may be, and who is told how they fare
    tokens.py      who children are in a room, and what they may do there
    wire.py        what daemon and children say to each other: a JSON object a line, over a socket pair
    __main__.py    the child: `python -m sip.livekit.listening --socket FD`
    station.py     the child's inside: takes orders, beats
    ear.py         one room, heard
    reception.py   one callee's audio as it comes in: detector, gaps, the answer, and when all has been said
    loudness.py    whether somebody is heard, at next to no cost
    quiet.py       silence, idleness and lost media, from what is heard
    player.py      plays a message into a room
    connecting.py  how rooms are joined and left without ending the process
    logs.py        how a child logs

The client library for rooms ends the process that it lives in when it panics, so it is imported by children only; a child that
dies takes no call with it. Neither it nor numpy may be imported by the first six.
"""
