"""The database: what is acknowledged is kept, in order, and everybody can wait for it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import alembic.command
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from orchestrator.errors import RevisionGoneError, StorageError, UnavailableError
from orchestrator.records import Policy
from orchestrator.store import Database, Session, events, migrate, schema


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(tmp_path / "control.db")
    yield opened
    await opened.close()


def put_policy(name: str):
    return lambda session: session.policies.put(Policy(name=name, spec_yaml="x"))


async def test_tables_in_the_code_equal_what_the_migrations_build(database: Database) -> None:
    def differences(session: Session) -> list[object]:
        return compare_metadata(MigrationContext.configure(session.connection), schema.metadata)

    assert await database.write(differences) == []


async def test_a_database_of_the_first_schema_is_upgraded_with_what_it_holds(tmp_path: Path) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'control.db'}")
    with engine.begin() as connection:
        alembic.command.upgrade(migrate.configuration(connection), "0001")
        row = "(7, 'policy', 'p', 1, '{}')"
        connection.exec_driver_sql(f"INSERT INTO events (revision, kind, subject, at_ms, snapshot) VALUES {row}")
    engine.dispose()
    database = await Database.open(tmp_path / "control.db")
    assert database.revision == 7
    assert await database.write(lambda session: session.telemetry.roll_up(before_ms=1)) == 0
    await database.close()


async def test_an_acknowledged_write_is_there_after_reopening(tmp_path: Path, database: Database) -> None:
    revision = await database.write(put_policy("kept"))
    await database.close()
    again = await Database.open(tmp_path / "control.db")
    assert again.revision == revision
    assert (await again.read(lambda session: session.policies.get("kept"))).name == "kept"
    await again.close()


async def test_writes_that_arrive_together_get_rising_revisions_in_order(database: Database) -> None:
    revisions = await asyncio.gather(*(database.write(put_policy(f"p{i}")) for i in range(500)))
    assert revisions == sorted(revisions)
    assert len(set(revisions)) == 500
    found, up_to = await database.read(lambda session: session.events(after=1, kinds=["policy"], limit=1000))
    assert [event.subject for event in found] == [f"p{i}" for i in range(500)]
    assert up_to == revisions[-1]


async def test_a_write_that_raises_undoes_itself_and_nothing_else(database: Database) -> None:
    def fail(session: Session) -> None:
        session.policies.put(Policy(name="undone", spec_yaml="x"))
        raise KeyError("planned")

    results = await asyncio.gather(
        database.write(put_policy("before")),
        database.write(fail),
        database.write(put_policy("after")),
        return_exceptions=True,
    )
    assert isinstance(results[1], KeyError)
    names = {policy.name for policy in await database.read(lambda session: session.policies.list())}
    assert names == {"before", "after"}


async def test_no_list_ever_answers_with_revision_zero(database: Database) -> None:
    """In a watch, 0 means from now."""
    assert await database.read(lambda session: session.revision) > 0


async def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises(StorageError, match="readonly"):
        await database.read(put_policy("sneaky"))


async def test_a_path_may_hold_any_character(tmp_path: Path) -> None:
    folder = tmp_path / "100% odd?name#1 \u00e9"
    folder.mkdir()
    database = await Database.open(folder / "control.db")
    assert await database.read(lambda session: session.revision) > 0
    await database.close()
    assert (folder / "control.db").exists()


async def test_waiting_ends_when_something_newer_is_committed(database: Database) -> None:
    waiting = asyncio.ensure_future(database.wait_for_revision(database.revision))
    await asyncio.sleep(0)
    assert not waiting.done()
    revision = await database.write(put_policy("news"))
    assert await asyncio.wait_for(waiting, 5) == revision


async def test_waiting_for_what_is_already_there_returns_at_once(database: Database) -> None:
    revision = await database.write(put_policy("old news"))
    assert await database.wait_for_revision(revision - 1) == revision


async def test_waiting_can_time_out(database: Database) -> None:
    assert await database.wait_for_revision(database.revision, timeout_s=0.01) == database.revision


async def test_a_closed_database_refuses(database: Database) -> None:
    await database.close()
    with pytest.raises(UnavailableError):
        await database.write(put_policy("late"))
    with pytest.raises(UnavailableError):
        await database.read(lambda session: session.revision)


async def test_closing_finishes_what_was_queued(tmp_path: Path, database: Database) -> None:
    writes = [asyncio.ensure_future(database.write(put_policy(f"q{i}"))) for i in range(50)]
    await asyncio.sleep(0)
    await database.close()
    assert len(await asyncio.gather(*writes)) == 50


async def test_a_full_disk_fails_the_write_and_the_next_one_works_when_there_is_space(database: Database) -> None:
    def set_pages(session: Session, pages: int) -> None:
        session.connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    await database.write(lambda session: set_pages(session, 1))
    with pytest.raises(Exception, match="no space"):
        await database.write(lambda session: session.put_setting("big", "x" * 1_000_000))
    await database.write(lambda session: set_pages(session, 1_000_000))
    await database.write(lambda session: session.put_setting("big", "x"))
    assert await database.read(lambda session: session.get_setting("big")) == "x"


async def test_old_events_can_be_deleted_and_a_watch_from_before_them_is_told_to_list_again(tmp_path: Path) -> None:
    now = [1000]
    database = await Database.open(tmp_path / "c.db", clock=lambda: now[0])
    await database.write(put_policy("a"))
    await database.write(put_policy("b"))
    now[0] = 2000
    last = await database.write(put_policy("c"))
    assert await database.write(lambda session: events.delete_events(session.connection, before_ms=1500)) == 3
    with pytest.raises(RevisionGoneError, match="list again"):
        await database.read(lambda session: session.events(after=0))
    found, _ = await database.read(lambda session: session.events(after=last - 1))
    assert [event.subject for event in found] == ["c"]
    await database.write(lambda session: events.delete_events(session.connection, before_ms=9999))
    assert await database.write(put_policy("d")) == last + 1
    await database.close()


async def test_a_revision_from_the_future_is_told_to_list_again(database: Database) -> None:
    with pytest.raises(RevisionGoneError):
        await database.read(lambda session: session.events(after=99))


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path, database: Database) -> None:
    await database.close()
    with sqlite3.connect(tmp_path / "control.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num='9999'")
    connection.close()
    with pytest.raises(StorageError, match="9999"):
        await Database.open(tmp_path / "control.db")


async def test_the_writer_is_durable(database: Database) -> None:
    """WAL and synchronous FULL: an acknowledged commit survives a power loss."""
    pragmas = await database.write(
        lambda session: [
            session.connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        ]
    )
    assert pragmas == ["wal", 2]
