"""The database: one thread writes, others read, and everybody can wait for what was written.

A caller hands over a function of a Session. Functions that arrive together share one transaction and so one fsync, each
inside a savepoint of its own; a caller is answered only after COMMIT. Because one connection does all writing and all
checkpoints and the readers are read-only, the WAL-reset bug of SQLite 3.7 to 3.51.2 cannot be met.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import Connection, Engine

from orchestrator.errors import BusyError, OrchestratorError, StorageError, StorageFullError, UnavailableError
from orchestrator.store import migrate
from orchestrator.store.events import append_event, last_revision
from orchestrator.store.session import Session

logger = logging.getLogger(__name__)

T = TypeVar("T")
Work = tuple[Callable[[Session], Any], "Future[Any]"]

GROUP_LIMIT = 256
QUEUE_LIMIT = 8192
READERS = 4


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


class Database:
    """Open with `await Database.open(path)`; close with `await close()`."""

    def __init__(self, path: Path, *, clock: Callable[[], int] = unix_ms) -> None:
        self.path = path
        self._clock = clock
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._writer_engine = _engine(path, "rwc", "BEGIN IMMEDIATE", _configure_writer, pool_size=1)
        self._reader_engine = _engine(path, "ro", "BEGIN", _configure_reader, pool_size=READERS)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._started: Future[int] = Future()
        self._writer = threading.Thread(target=self._run_writer, name="store-writer", daemon=True)
        self._lock = threading.Lock()
        self._revision = 0
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._closed = False

    @classmethod
    async def open(cls, path: Path, *, clock: Callable[[], int] = unix_ms) -> Database:
        """Create or upgrade the file at `path` and start the writer."""
        database = cls(path, clock=clock)
        database._writer.start()
        await asyncio.wrap_future(database._started)
        return database

    @property
    def revision(self) -> int:
        """The last revision that is committed."""
        return self._revision

    def now_ms(self) -> int:
        return self._clock()

    async def write(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a transaction and answer with what it returned, after COMMIT.

        What `work` raises undoes its own changes only and is raised here. It may run on any thread and must not block.

        Raises:
            BusyError: too much is waiting to be written.
            StorageFullError, StorageError: the database refused; nothing of `work` was kept.
        """
        return await asyncio.wrap_future(self.submit(work))

    def submit(self, work: Callable[[Session], T]) -> Future[T]:
        """`write` for callers outside an event loop."""
        if self._closed:
            raise UnavailableError("the database is closed; the server is stopping")
        if self._queue.qsize() >= QUEUE_LIMIT:
            raise BusyError("too many writes are waiting; try again", retry_after_s=1.0)
        future: Future[T] = Future()
        self._queue.put((work, future))
        return future

    async def read(self, work: Callable[[Session], T]) -> T:
        """Run `work` on one consistent, read-only view of what is committed."""
        if self._closed:
            raise UnavailableError("the database is closed; the server is stopping")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def wait_for_revision(self, after: int, timeout_s: float | None = None) -> int:
        """Wait until something newer than revision `after` is committed, or until `timeout_s`; the last revision."""
        loop = asyncio.get_running_loop()
        event = asyncio.Event()
        waiter = (loop, event)
        with self._lock:
            if self._revision > after or self._closed:
                return self._revision
            self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout_s):  # wait_for can swallow a cancellation before Python 3.12
                await event.wait()
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiters.discard(waiter)
        return self._revision

    async def close(self) -> None:
        """Finish what is queued, then release the file."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._wake(self._revision)
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._readers.shutdown)
        self._reader_engine.dispose()

    # ---- readers

    def _read(self, work: Callable[[Session], T]) -> T:
        try:
            with self._reader_engine.connect() as connection, connection.begin():
                return work(Session(connection, self._clock()))
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise _storage_error(error) from error

    # ---- the writer's thread

    def _run_writer(self) -> None:
        try:
            connection = self._writer_engine.connect()
            with connection.begin():
                migrate.upgrade(connection)
            with connection.begin():
                if not last_revision(connection):
                    # Revision 0 means "from now" in a watch, so a list must never answer with it.
                    append_event(connection, "database", "created", self._clock(), "")
                self._revision = last_revision(connection)
        except BaseException as error:
            self._writer_engine.dispose()
            self._started.set_exception(_storage_error(error) if isinstance(error, Exception) else error)
            return
        self._started.set_result(self._revision)
        try:
            while group := self._next_group():
                self._commit_group(connection, group)
        finally:
            connection.close()
            self._writer_engine.dispose()

    def _next_group(self) -> list[Work]:
        """Wait for work and take along what else has arrived; empty when closed."""
        first = self._queue.get()
        if first is None:
            return []
        group = [first]
        while len(group) < GROUP_LIMIT:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:
                self._queue.put(None)  # the end comes after this group
                break
            group.append(item)
        return group

    def _commit_group(self, connection: Connection, group: list[Work]) -> None:
        group = [(work, future) for work, future in group if future.set_running_or_notify_cancel()]
        results: list[tuple[Future[Any], Any]] = []
        try:
            with connection.begin():
                for work, future in group:
                    result, error = self._run_one(connection, work)
                    if error is None:
                        results.append((future, result))
                    else:
                        future.set_exception(error)
                revision = last_revision(connection)
        except Exception as error:
            logger.exception("a transaction of %d writes failed", len(group))
            refused = _storage_error(error)
            for _, future in group:
                if not future.done():
                    future.set_exception(refused)
            return
        self._wake(revision)
        for future, result in results:
            future.set_result(result)

    def _run_one(self, connection: Connection, work: Callable[[Session], Any]) -> tuple[Any, Exception | None]:
        """Run one caller's work in a savepoint; what it raises is for that caller alone.

        An error after which SQLite has dropped the whole transaction (a full disk) is raised instead.
        """
        savepoint = connection.begin_nested()
        try:
            result = work(Session(connection, self._clock()))
            savepoint.commit()
            return result, None
        except Exception as error:
            if not connection.connection.in_transaction:
                raise
            savepoint.rollback()
            return None, _storage_error(error) if isinstance(error, sqlalchemy.exc.SQLAlchemyError) else error

    def _wake(self, revision: int) -> None:
        with self._lock:
            if revision == self._revision and not self._closed:
                return
            self._revision = revision
            waiters = list(self._waiters)
        for loop, event in waiters:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # that loop has closed; nobody waits there any more
                continue


def _engine(
    path: Path, mode: str, begin: str, configure: Callable[[sqlite3.Connection], None], *, pool_size: int
) -> Engine:
    """An engine whose transactions begin with `begin`; Python's own implicit transactions are switched off."""
    uri = f"file:{quote(str(path.absolute()))}?mode={mode}"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0, check_same_thread=False)
        configure(connection)
        return connection

    engine = sqlalchemy.create_engine(
        "sqlite://",
        creator=connect,
        poolclass=sqlalchemy.pool.QueuePool,
        pool_size=pool_size,
        max_overflow=0,
    )

    @sqlalchemy.event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _configure_writer(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA busy_timeout=5000")


def _configure_reader(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only=ON")
    connection.execute("PRAGMA busy_timeout=5000")


def _storage_error(error: BaseException) -> OrchestratorError:
    if isinstance(error, OrchestratorError):
        return error
    if "database or disk is full" in str(error):
        return StorageFullError("no space is left for the database; free some, then try again", retry_after_s=30.0)
    return StorageError(f"the database refused: {error}")
