"""What every implementation of the store promises; run against each there is."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import random
import typing
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.sketch import LatencySketch
from orchestrator import records
from orchestrator.errors import ConflictError, NotFoundError
from orchestrator.records import (
    ActionReport,
    ActionState,
    Benchmark,
    ClassModel,
    Decision,
    Device,
    DeviceFacts,
    Gate,
    Job,
    JobState,
    Measurement,
    PairCounts,
    Policy,
    PublishedModel,
    Rollout,
    RolloutDevice,
    RolloutState,
    RolloutTerms,
    Stage,
    StageOutput,
    Wave,
)
from orchestrator.store import Database, Session
from orchestrator.store.codec import decode, encode
from protos import model_pb2
from tests.control_plane import digest_of, window

MODEL = PublishedModel(
    digest="ab" * 32,
    name="fashion",
    size_bytes=10,
    file_bytes=5,
    published_at_ms=1,
    job_id="j",
    blob_digests=("cd" * 32,),
)
OTHER = dataclasses.replace(MODEL, digest="ef" * 32, published_at_ms=2)


@pytest.fixture(params=["sqlite"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(tmp_path / "control.db", clock=iter(range(100_000_000, 200_000_000)).__next__)
    yield opened
    await opened.close()


@pytest.fixture
async def device(database: Database) -> Device:
    return await database.write(lambda session: observe(session))


def observe(session: Session, **changes: Any) -> Device:
    stated = {"accepted_generation": 0, "running_digest": "", "samples_consent": True, **changes}
    return session.devices.observe("cam-1", DeviceFacts(device_class="gateway", engine_paths=("avx2",)), **stated)


# ---- the codec


def _filled(kind: Any) -> Any:
    """A value of an annotated type in which nothing has its default."""
    if kind is str:
        return "text \u00e9"
    if kind is bool:
        return True
    if kind in (int, float):
        return kind(7)
    if kind is LatencySketch:
        sketch = LatencySketch()
        sketch.add(3.0)
        return sketch
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return kind(**{name: _filled(hint) for name, hint in typing.get_type_hints(kind).items()})
    if isinstance(kind, type):
        return list(kind)[-1]
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        return (_filled(arguments[0]), _filled(arguments[0]))
    return _filled(arguments[0])


RECORDS = [kind for name in records.__all__ if dataclasses.is_dataclass(kind := getattr(records, name))]


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_every_record_survives_being_stored(kind: type) -> None:
    record = _filled(kind)
    assert encode(decode(kind, encode(record))) == encode(record)


def test_fields_of_another_version_are_left_out_or_take_their_default() -> None:
    policy = decode(Policy, '{"name": "p", "spec_yaml": "x", "since_the_future": 1}')
    assert policy == Policy(name="p", spec_yaml="x")


# ---- devices


async def test_a_sync_that_says_nothing_new_is_no_event(database: Database, device: Device) -> None:
    revision = database.revision
    await database.write(lambda session: observe(session))
    assert database.revision == revision


async def test_generations_only_rise(database: Database, device: Device) -> None:
    def assign(session: Session) -> int:
        return session.devices.assign("cam-1", MODEL).generation

    await database.write(lambda session: session.models.put(MODEL))
    assert [await database.write(assign) for _ in range(3)] == [1, 2, 3]


async def test_a_restored_database_goes_on_above_what_the_device_has_seen(database: Database, device: Device) -> None:
    await database.write(lambda session: observe(session, accepted_generation=41))
    given = await database.write(lambda session: session.devices.assign("cam-1", MODEL))
    assert given.generation == 42


async def test_the_previous_model_is_the_one_committed_before(database: Database, device: Device) -> None:
    for model in (MODEL, OTHER):
        given = await database.write(lambda session, m=model: session.devices.assign("cam-1", m))
        for seq, state in ((1, ActionState.DOWNLOADING), (2, ActionState.COMMITTED)):
            report = ActionReport(
                action_id=given.action_id, device_id="cam-1", generation=given.generation, seq=seq, state=state
            )
            after = await database.write(lambda session, r=report: session.devices.report(r))
    assert (after.running_digest, after.previous_digest) == (OTHER.digest, MODEL.digest)
    assert after.committed_generation == 2


async def test_a_report_about_an_older_assignment_does_not_disturb_the_newer(
    database: Database, device: Device
) -> None:
    old = await database.write(lambda session: session.devices.assign("cam-1", MODEL))
    new = await database.write(lambda session: session.devices.assign("cam-1", OTHER))
    late = ActionReport(
        action_id=old.action_id, device_id="cam-1", generation=1, seq=5, state=ActionState.REJECTED, detail="superseded"
    )
    after = await database.write(lambda session: session.devices.report(late))
    assert (after.action_id, after.action_state) == (new.action_id, ActionState.ASSIGNED)
    kept = await database.read(lambda session: session.devices.find_report(old.action_id))
    assert kept is not None
    assert kept.state is ActionState.REJECTED


async def test_a_report_of_another_devices_action_is_refused(database: Database, device: Device) -> None:
    given = await database.write(lambda session: session.devices.assign("cam-1", MODEL))
    await database.write(
        lambda session: session.devices.observe(
            "cam-2", DeviceFacts(device_class="x"), accepted_generation=0, running_digest="", samples_consent=False
        )
    )
    lie = ActionReport(action_id=given.action_id, device_id="cam-2", generation=1, seq=1, state=ActionState.COMMITTED)
    with pytest.raises(NotFoundError):
        await database.write(lambda session: session.devices.report(lie))


async def test_only_what_was_given_can_be_committed_and_a_commit_is_not_taken_back(
    database: Database, device: Device
) -> None:
    with pytest.raises(ConflictError):
        await database.write(lambda session: session.devices.commit("cam-1", 1))
    await database.write(lambda session: session.devices.assign("cam-1", MODEL))
    await database.write(lambda session: session.devices.commit("cam-1", 1))
    await database.write(lambda session: session.devices.commit("cam-1", 0))
    assert (await database.read(lambda session: session.devices.get("cam-1"))).committed_generation == 1


async def test_each_session_has_a_greater_epoch(database: Database) -> None:
    epochs = [await database.write(lambda session: session.devices.open_session("cam-1")) for _ in range(3)]
    assert epochs == [1, 2, 3]


async def test_liveness_is_written_without_an_event_until_it_changes(database: Database, device: Device) -> None:
    revision = database.revision
    await database.write(lambda session: session.devices.touch({"cam-1": 999_999_999}))
    assert database.revision == revision
    await database.write(lambda session: session.devices.set_online("cam-1", False))
    stored = await database.read(lambda session: session.devices.get("cam-1"))
    assert (stored.online, stored.last_seen_ms) == (False, 999_999_999)
    assert database.revision == revision + 1


# ---- the other resources


async def test_jobs_are_found_by_state_and_by_request(database: Database) -> None:
    job = Job(id="j1", name="n", spec_yaml="s", working_dir_digest="", state=JobState.QUEUED, created_at_ms=1)
    await database.write(lambda session: session.jobs.put_submitted(job, "req"))
    running = dataclasses.replace(job, state=JobState.RUNNING)
    await database.write(lambda session: session.jobs.put(running))
    found = await database.read(lambda session: session.jobs.find_by_request("req"))
    assert found == running
    assert await database.read(lambda session: session.jobs.list(states=[JobState.QUEUED])) == []
    assert await database.read(lambda session: session.jobs.list(states=[JobState.RUNNING])) == [running]


async def test_lists_are_newest_first_and_limited(database: Database) -> None:
    for number in range(5):
        decision = Decision(
            id=f"d{number}", policy="p", device_id="x", model_digest="", action="a", reason="r", evidence_json="{}",
            decided_at_ms=number,
        )  # fmt: skip
        await database.write(lambda session, d=decision: session.decisions.put(d))
    found = await database.read(lambda session: session.decisions.list(limit=2))
    assert [decision.id for decision in found] == ["d4", "d3"]
    assert [d.id for d in await database.read(lambda session: session.decisions.list(since_ms=4))] == ["d4"]


async def test_rollouts_come_back_whole(database: Database) -> None:
    rollout = Rollout(
        id="r",
        model_name="fashion",
        models=(ClassModel(device_class="*", model_digest=MODEL.digest),),
        terms=RolloutTerms(min_pairs=3),
        waves=(
            Wave(
                name="first", gate=Gate.BETTER, devices=(RolloutDevice(device_id="cam-1", model_digest=MODEL.digest),)
            ),
        ),
    )
    await database.write(lambda session: session.rollouts.put_started(rollout, "req"))
    assert await database.read(lambda session: session.rollouts.get("r")) == rollout
    assert await database.read(lambda session: session.rollouts.find_by_request("req")) == rollout
    assert await database.read(lambda session: session.rollouts.list(states=[RolloutState.HALTED])) == []


async def test_the_first_outputs_of_a_stage_count(database: Database) -> None:
    first = Stage(
        key="ab" * 32, name="teacher", job_id="j1", outputs=(StageOutput(name="x", digest="cd" * 32, size_bytes=1),)
    )
    second = dataclasses.replace(first, job_id="j2", outputs=())
    await database.write(lambda session: session.stages.put_once(first))
    assert await database.write(lambda session: session.stages.put_once(second)) == first


async def test_a_deleted_policy_is_out_of_force_but_still_readable(database: Database) -> None:
    await database.write(lambda session: session.policies.put(Policy(name="p", spec_yaml="x")))
    await database.write(lambda session: session.policies.delete("p"))
    assert await database.read(lambda session: session.policies.list()) == []
    assert (await database.read(lambda session: session.policies.get("p"))).deleted


async def test_a_benchmark_is_done_when_everybody_asked_has_answered_once(database: Database) -> None:
    asked = Benchmark(
        id="b", job_id="j", device_class="gateway", model_digest=MODEL.digest, model_size_bytes=5, warmup=1, runs=2,
        devices=2, device_ids=("cam-1", "cam-2"),
    )  # fmt: skip
    measured = Measurement(
        device_class="gateway", engine_path="avx2", latency_p50_us=1.0, latency_p95_us=2.0, runs=2, peak_ram_bytes=3
    )
    await database.write(lambda session: session.benchmarks.put(asked))
    for _ in range(2):
        after = await database.write(lambda session: session.benchmarks.add_result("b", "cam-1", measured))
        assert (len(after.measurements), after.done) == (1, False)
    assert await database.read(lambda session: session.benchmarks.open_for("cam-1")) == []
    assert len(await database.read(lambda session: session.benchmarks.open_for("cam-2"))) == 1
    after = await database.write(lambda session: session.benchmarks.add_result("b", "cam-2", "out of memory"))
    assert (after.done, after.errors) == (True, ("cam-2: out of memory",))
    with pytest.raises(ConflictError, match="not asked"):
        await database.write(lambda session: session.benchmarks.add_result("b", "cam-3", measured))


async def test_statements_are_kept_once(database: Database) -> None:
    statement = model_pb2.Statement(issued_at_ms=1)
    for _ in range(2):
        await database.write(lambda session: put_statement(session, statement))
    assert await database.read(lambda session: session.models.statements(MODEL.digest)) == [statement]


async def test_statements_come_oldest_first_in_whatever_order_they_were_kept(database: Database) -> None:
    issued = [model_pb2.Statement(issued_at_ms=ms) for ms in (5, 1, 4, 2, 3)]
    for statement in issued:
        await database.write(functools.partial(put_statement, statement=statement))
    found = await database.read(lambda session: session.models.statements(MODEL.digest))
    assert [statement.issued_at_ms for statement in found] == [1, 2, 3, 4, 5]


def put_statement(session: Session, statement: model_pb2.Statement) -> None:
    body = statement.SerializeToString(deterministic=True)
    session.models.put_statement(hashlib.sha256(body).hexdigest(), MODEL.digest, body)


# ---- telemetry and samples


async def test_windows_add_up_per_device_and_model(database: Database) -> None:
    def sketch(value: float) -> Any:
        made = LatencySketch()
        made.add(value, 10)
        return made.to_proto()

    def write(session: Session) -> None:
        add = session.telemetry.add_windows
        first = window(end_ms=100, requests=10, class_counts=[4, 6], engine_latency_us=sketch(100.0), cpu_seconds=0.5)
        second = window(end_ms=200, requests=10, class_counts=[1, 2, 7], engine_latency_us=sketch(1000.0), rss_bytes=9)
        add("cam-1", "gateway", "s", {1: first, 2: second})
        add("cam-2", "sensor", "s", {1: window(end_ms=150)})
        session.telemetry.add_dropped("cam-1", "s", 3, 7, "full")

    await database.write(write)
    totals = await database.read(lambda session: session.telemetry.window_totals())
    assert [(entry.device_id, entry.windows, entry.requests) for entry in totals] == [("cam-1", 2, 20), ("cam-2", 1, 1)]
    one = totals[0]
    assert (one.class_counts, one.dropped_records, one.rss_bytes, one.cpu_seconds) == ((5, 8, 7), 5, 9, 0.5)
    assert one.engine_latency_us.count == 20
    p95 = one.engine_latency_us.quantile(0.95)
    assert p95 is not None
    assert abs(p95 - 1000.0) <= 10.0
    by_class = await database.read(lambda session: session.telemetry.window_totals(device_class="sensor"))
    assert [entry.device_id for entry in by_class] == ["cam-2"]
    recent = await database.read(lambda session: session.telemetry.window_totals(since_ms=200))
    assert [(entry.device_id, entry.windows) for entry in recent] == [("cam-1", 1)]
    digest = digest_of("model").hex()
    named = await database.read(lambda session: session.telemetry.window_totals(model_name="fashion"))
    assert named == []
    await database.write(lambda session: session.models.put(dataclasses.replace(MODEL, digest=digest)))
    named = await database.read(lambda session: session.telemetry.window_totals(model_name="fashion"))
    assert len(named) == 2


async def test_rolling_up_changes_no_total(database: Database) -> None:
    """Whole hours are added up, again and again as late windows come in, and every sum and percentile stays."""
    rng = random.Random(5)
    seqs = itertools.count(1)

    def more(session: Session) -> None:
        for device in ("cam-1", "cam-2"):
            for _ in range(40):
                latency = LatencySketch()
                for _ in range(20):
                    latency.add(rng.lognormvariate(5, 1))
                counted = window(
                    rng.choice(["a", "b"]), end_ms=rng.randrange(10 * 3_600_000), requests=20, class_counts=[3, 4],
                    engine_latency_us=latency.to_proto(), cpu_seconds=0.25, rss_bytes=rng.randrange(1000),
                )  # fmt: skip
                session.telemetry.add_windows(device, "gateway", "s", {next(seqs): counted})

    def look(session: Session) -> dict[tuple[str, str], tuple[object, ...]]:
        return {
            (entry.device_id, entry.model_digest): (
                entry.windows, entry.requests, entry.class_counts, entry.cpu_seconds, entry.rss_bytes, entry.from_ms,
                entry.until_ms, entry.engine_latency_us.count,
                *(entry.engine_latency_us.quantile(q) for q in (0.0, 0.5, 0.95, 1.0)),
            )
            for entry in session.telemetry.window_totals()
        }  # fmt: skip

    hour = 3_600_000
    for _ in range(3):
        await database.write(more)
        before = await database.read(look)
        while await database.write(lambda session: session.telemetry.roll_up(before_ms=8 * hour)):
            pass
        assert await database.read(look) == before
    assert len(await database.read(lambda session: list(session.telemetry.windows()))) < 100
    first = await database.read(
        lambda session: session.telemetry.first_totals(
            device_id="cam-1", model_digest=digest_of("a").hex(), min_requests=1, limit=5
        )
    )
    assert first is not None
    assert first.from_ms < hour
    old = await database.read(lambda session: session.telemetry.window_totals(until_ms=8 * hour))
    new = await database.read(lambda session: session.telemetry.window_totals(since_ms=8 * hour))
    assert sum(entry.windows for entry in (*old, *new)) == 240
    assert await database.write(lambda session: session.telemetry.delete_windows(before_ms=8 * hour)) > 0
    left = await database.read(lambda session: session.telemetry.window_totals())
    assert sum(entry.windows for entry in left) < sum(entry.windows for entry in new) + 1


async def test_a_clock_that_runs_ahead_does_not_put_windows_into_the_future(database: Database) -> None:
    future = window(end_ms=10**12)
    await database.write(lambda session: session.telemetry.add_windows("cam-1", "gateway", "s", {1: future}))
    assert len(await database.read(lambda session: session.telemetry.window_totals(since_ms=1))) == 1


async def test_a_device_returns_no_more_samples_than_it_was_asked_for(database: Database) -> None:
    from protos import fleet_pb2

    def samples(*seqs: int) -> list[fleet_pb2.Sample]:
        return [fleet_pb2.Sample(seq=seq, model_sha256=b"x" * 32, raw=b"1") for seq in seqs]

    assert await database.read(lambda session: session.samples.remaining("cam-1")) is None
    assert await database.write(lambda session: session.samples.take("cam-1", samples(1, 2))) == 0
    await database.write(lambda session: session.samples.ask("cam-1", 3))
    await database.write(lambda session: session.samples.ask("cam-1", 300))
    assert await database.write(lambda session: session.samples.take("cam-1", samples(3, 4))) == 1
    assert await database.write(lambda session: session.samples.take("cam-1", samples(5, 6))) == 0
    assert await database.read(lambda session: session.samples.count("cam-1")) == 3
    page = await database.read(lambda session: session.samples.list(["cam-1"], limit=2))
    rest = await database.read(lambda session: session.samples.list(["cam-1"], after_id=page[-1].id))
    assert [stored.sample.seq for stored in (*page, *rest)] == [3, 4, 5]
    assert await database.write(lambda session: session.samples.delete("cam-1")) == 3
    assert await database.read(lambda session: session.samples.stats()) == []


async def test_pairs_come_back_with_their_sketches(database: Database, device: Device) -> None:
    given = await database.write(lambda session: session.devices.assign("cam-1", MODEL))
    pairs = PairCounts(pairs=3, agreements=2)
    pairs.new_engine_latency_us.add(5.0)
    report = ActionReport(
        action_id=given.action_id, device_id="cam-1", generation=1, seq=1, state=ActionState.PROBATION, pairs=pairs
    )
    await database.write(lambda session: session.devices.report(report))
    stored = await database.read(lambda session: session.devices.get("cam-1"))
    assert stored.pairs is not None
    assert (stored.pairs.pairs, stored.pairs.new_engine_latency_us.count) == (3, 1)
