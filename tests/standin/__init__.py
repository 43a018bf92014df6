"""A stand-in for LiveKit's SIP service, for tests on a real livekit-server. No phone rings.

    __main__.py   the process: `python -m tests.standin --livekit-url http://... --port ... --ledger FILE`
    service.py    the door: the SIP part of LiveKit's API; everything else is passed through to the real server
    leg.py        one dial: what the callee's script does, told in LiveKit's words
    callee.py     the callee as a SIP participant of the real room
    refusals.py   what LiveKit answers when a dial fails: codes, texts, reasons of the leave
    trunks.py     the outbound trunks that it knows
    ledger.py     every dial received and what became of it, written to a file that tests read
    twirp.py      errors as LiveKit's API sends them

Times, texts and reasons are those of server 1.13.5 with SIP service 1.10 (section 0 of the facts on LiveKit that this was built
from, and the SIP service's source). A dial is answered by the script that the last two digits of the dialled number select
(sip.simulated.scripts), so any number will do.

What it cannot imitate: SIP itself (headers are recorded, not sent), codecs and the G.711 sound of a real leg, a BYE that waits
for its answer, psrpc between several services, LiveKit Cloud, and a server whose `room.auto_create` is on. Refusals carry no
`error_details`. A leg that is lost leaves like one whose SIP service shut down; a connection that breaks off without a word
(CONNECTION_TIMEOUT) does not happen.
"""
