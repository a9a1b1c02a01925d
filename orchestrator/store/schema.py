"""Tables of the control plane's database; migrations/ builds the same, held together by a test.

A resource is one row: the columns that are searched by, the revision at which it last changed, and `record`, the JSON
of its dataclass in orchestrator.records. What a list or a watch shows comes out of `record` or of an event's snapshot.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives row ids only to a column of exactly this type.
_RowId = BigInteger().with_variant(Integer, "sqlite")


def _resource_columns() -> list[Column[object]]:
    return [Column("revision", BigInteger, nullable=False), Column("record", Text, nullable=False)]


# Rows are only appended and, when old, deleted from the front; a revision is never given twice.
events = Table(
    "events",
    metadata,
    Column("revision", _RowId, primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("subject", String(128), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("snapshot", Text, nullable=False),
    Index(None, "kind", "revision"),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("state", String(16), nullable=False, index=True),
    Column("client_request_id", String(128), unique=True),
    Column("parent_job_id", String(64), nullable=False),
    Column("decision_id", String(64), nullable=False, index=True),
    Column("created_at_ms", BigInteger, nullable=False),
    *_resource_columns(),
)

stages = Table(
    "stages",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("job_id", String(64), nullable=False, index=True),
    Column("created_at_ms", BigInteger, nullable=False),
    *_resource_columns(),
)

models = Table(
    "models",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("name", String(128), nullable=False, index=True),
    Column("job_id", String(64), nullable=False, index=True),
    Column("published_at_ms", BigInteger, nullable=False),
    *_resource_columns(),
)

statements = Table(
    "statements",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("model_digest", String(64), nullable=False, index=True),
    Column("body", LargeBinary, nullable=False),
)

devices = Table(
    "devices",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("device_class", String(64), nullable=False, index=True),
    Column("online", Boolean, nullable=False),
    Column("last_seen_ms", BigInteger, nullable=False),
    *_resource_columns(),
)

# How often each device has opened a Watch; the newest session is the one that counts.
sessions = Table(
    "sessions",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
)

assignments = Table(
    "assignments",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
    Column("action_id", String(64), nullable=False, unique=True),
    Column("model_digest", String(64), nullable=False),
    Column("rollout_id", String(64), nullable=False, index=True),
    Column("record", Text, nullable=False),
)

actions = Table(
    "actions",
    metadata,
    Column("action_id", String(64), primary_key=True),
    Column("device_id", String(64), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("model_digest", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("record", Text, nullable=False),
    Index(None, "device_id", "generation"),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("state", String(16), nullable=False, index=True),
    Column("model_name", String(128), nullable=False),
    Column("job_id", String(64), nullable=False, index=True),
    Column("decision_id", String(64), nullable=False, index=True),
    Column("client_request_id", String(128), unique=True),
    Column("created_at_ms", BigInteger, nullable=False),
    *_resource_columns(),
)

policies = Table(
    "policies",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("deleted", Boolean, nullable=False),
    *_resource_columns(),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("policy", String(128), nullable=False, index=True),
    Column("device_id", String(64), nullable=False, index=True),
    Column("job_id", String(64), nullable=False, index=True),
    Column("rollout_id", String(64), nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("decided_at_ms", BigInteger, nullable=False),
    *_resource_columns(),
)

benchmarks = Table(
    "benchmarks",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("job_id", String(64), nullable=False),
    Column("device_class", String(64), nullable=False),
    Column("model_digest", String(64), nullable=False),
    Column("done", Boolean, nullable=False, index=True),
    *_resource_columns(),
    UniqueConstraint("job_id", "model_digest", "device_class"),
)

benchmark_results = Table(
    "benchmark_results",
    metadata,
    Column("benchmark_id", String(64), primary_key=True),
    Column("device_id", String(64), primary_key=True),
)

# Where the server stands in each log that a device sends; moved in the transaction that takes the data.
spool_cursors = Table(
    "spool_cursors",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("stream", String(16), primary_key=True),
    Column("spool_id", String(64), primary_key=True),
    Column("next_seq", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
)

windows = Table(
    "windows",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("device_id", String(64), nullable=False),
    Column("spool_id", String(64), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("device_class", String(64), nullable=False),
    Column("model_digest", String(64), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False, index=True),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("device_id", "spool_id", "seq"),
    Index(None, "at_ms"),
    Index(None, "device_id", "at_ms"),
)

# What windows of one hour added up to; the windows themselves are gone. `at_ms` is where the hour began.
rollups = Table(
    "rollups",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("model_digest", String(64), primary_key=True),
    Column("device_class", String(64), primary_key=True),
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("windows", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index(None, "at_ms"),
)

dropped_ranges = Table(
    "dropped_ranges",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("device_id", String(64), nullable=False),
    Column("spool_id", String(64), nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("reason", String(256), nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
    Index(None, "device_id", "received_at_ms"),
)

# Inputs that a device was allowed to return. Deleting a row deletes it for good: its cursor does not go back.
samples = Table(
    "samples",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("device_id", String(64), nullable=False),
    Column("model_digest", String(64), nullable=False),
    Column("received_at_ms", BigInteger, nullable=False, index=True),
    Column("body", LargeBinary, nullable=False),
    Index(None, "device_id", "id"),
    sqlite_autoincrement=True,
)

# How many more samples a device may return; nothing is wanted where there is no row.
sample_requests = Table(
    "sample_requests",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("remaining", BigInteger, nullable=False),
    Column("asked_at_ms", BigInteger, nullable=False),
)

settings = Table(
    "settings",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
