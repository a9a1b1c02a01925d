"""What the control plane keeps: records and the log of their changes in a database, bytes by digest beside it.

    database = await Database.open(path)
    devices = await database.read(lambda session: session.devices.list())
    await database.write(lambda session: session.rollouts.put(rollout))
    revision = await database.wait_for_revision(after=revision)

A function given to `write` is one transaction: read, decide and put inside it, and nothing can come between.
"""

from orchestrator.store.blobs import BlobStore
from orchestrator.store.database import Database, unix_ms
from orchestrator.store.session import Session

__all__ = ["BlobStore", "Database", "Session", "unix_ms"]
