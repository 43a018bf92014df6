"""Conducting calls: one conductor drives one call, the switchboard holds all conductors of this process."""
