"""Whether what was committed stays committed (DESIGN.md, I1): who the database server is, and how durable its commits are.

A server that forgets committed transactions makes us call people twice: after a crash without synchronous commit, after a
backup was restored, after a standby was promoted. The first is refused, the others hold dialling until an operator confirms.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import DatabaseError
from orchestrator.store.pool import Database


@dataclass(frozen=True, slots=True)
class Cluster:
    """A database server as our own sessions see it."""

    system_identifier: str | None
    """Of the cluster; None: the server does not let us ask."""
    timeline: str | None
    """Rises with each recovery and promotion; None: the server does not let us ask."""
    same: bool
    """It is the one on which dialling is confirmed, or none has been recorded yet."""
    held_why: str
    """Why dialling is held; empty if it is not."""
    stopped_why: str
    """Why an operator has stopped dialling; empty if nobody has."""
    synchronous_commit: str
    fsync: str


class ClusterStore:
    """Asks who the server is."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def describe(self) -> Cluster:
        """Everything that `check` tells; changes nothing."""
        (row,) = await self._database.fetch("describe_cluster")
        return Cluster(**row)

    async def watch(self) -> str:
        """Record the server at the first start, hold dialling if it is another one by now; returns why it is held, or ''."""
        why = await self._database.fetch_value("watch_cluster")
        return str(why or "")

    async def confirm_restore(self) -> str:
        """Dial on this server from now on; returns why dialling was held, or ''."""
        was = await self._database.fetch_value("confirm_restore")
        return str(was or "")

    async def refuse_lost_commits(self) -> Cluster:
        """Raises DatabaseError if commits do not survive a crash of the server, as set for server, database or role."""
        cluster = await self.describe()
        if cluster.synchronous_commit == "off":
            raise DatabaseError(
                "synchronous_commit is off for our sessions: a crash of the database server would forget calls that were"
                " dialled, and they would be dialled again; set it to on in postgresql.conf, see ALTER DATABASE and ALTER ROLE"
            )
        return cluster
