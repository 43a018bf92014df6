"""The call orchestrator: takes queued calls from Postgres, dials them within limits, and records one true end for each."""
