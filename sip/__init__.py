"""Telephone legs, their media and their signalling.

This package knows what happens on a telephone line: dialling, ringing, answer, hang-up and why. It knows nothing of accounts,
queues or Postgres; `orchestrator` drives it through the port in `sip.leg`.
"""
