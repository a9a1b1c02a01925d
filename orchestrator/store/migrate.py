"""Brings a database to the newest schema, in one transaction, with the migrations that the package carries."""

from __future__ import annotations

from pathlib import Path

import alembic.command
import alembic.config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from orchestrator.errors import StorageError


def configuration(connection: Connection) -> alembic.config.Config:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Run what is missing; the caller commits.

    Raises:
        StorageError: the database was written by a newer version.
    """
    config = configuration(connection)
    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise StorageError(
            f"the database has schema {current}, which this version does not know; install the newer one"
        )
    alembic.command.upgrade(config, "head")
