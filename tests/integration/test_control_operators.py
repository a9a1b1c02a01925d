"""The operators' services against real servers: models are verified, rollouts begin and end, decisions are replayed."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.client import Client
from orchestrator.convert import blob_ref
from orchestrator.errors import ConflictError, InvalidRequestError, NotFoundError
from protos import fleet_pb2, model_pb2
from tests.control_plane import RunningControlPlane, control_plane
from tests.models import BuiltModel, linear_model


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[RunningControlPlane]:
    async with control_plane(tmp_path) as running:
        yield running


def refs(model: BuiltModel) -> list[model_pb2.BlobRef]:
    return [blob_ref(digest, len(data)) for digest, data in model.blobs.items()]


async def publish(client: Client, model: BuiltModel, **statement: object) -> str:
    for data in model.files.values():
        await client.blobs.put(data)
    statements = []
    if statement:
        body = model_pb2.Statement(model_sha256=bytes.fromhex(model.ref.digest), **statement).SerializeToString()  # type: ignore[arg-type]
        statements.append(blob_ref(await client.blobs.put(body), len(body)))
    published = await client.drivers.publish_model(
        "job", model=blob_ref(model.ref.digest, model.ref.size_bytes), blobs=refs(model), statements=statements
    )
    return published.sha256.hex()


async def test_a_published_model_says_what_is_known_about_it(plane: RunningControlPlane) -> None:
    model = linear_model()
    lineage = model_pb2.Lineage(job_id="job", candidate="int8", student_sha256=b"s" * 32)
    digest = await publish(plane.client, model, lineage=lineage)
    measured = model_pb2.Measurement(device_class="gateway", latency_p95_us=9.0, runs=3)
    assert await publish(plane.client, model, measurement=measured) == digest
    assert await publish(plane.client, model, measurement=measured) == digest
    known = await plane.client.models.get(digest)
    assert known.lineage == lineage
    assert [entry.latency_p95_us for entry in known.measurements] == [9.0]
    assert len(known.statement_sha256) == 2
    assert not known.HasField("rules")
    rules = model_pb2.RuleSet(text="if size > 3: large", rules=2, trees=1, fidelity=0.97)
    await publish(plane.client, model, rules=rules)
    assert (await plane.client.models.get(digest)).rules == rules
    tensors = sum(len(data) for name, data in model.blobs.items() if name != model.golden_digest)
    assert known.size_bytes == len(model.data) + tensors


async def test_what_is_no_model_or_not_whole_is_not_published(plane: RunningControlPlane) -> None:
    client, model = plane.client, linear_model()
    with pytest.raises(ConflictError, match="put it first"):
        await client.drivers.publish_model("job", model=blob_ref(model.ref.digest, len(model.data)), blobs=refs(model))
    await client.blobs.put(model.data)
    with pytest.raises(ConflictError, match="put it first"):
        await client.drivers.publish_model("job", model=blob_ref(model.ref.digest, len(model.data)), blobs=refs(model))
    with pytest.raises(InvalidRequestError, match="not those that the model names"):
        await client.drivers.publish_model("job", model=blob_ref(model.ref.digest, len(model.data)), blobs=[])
    junk = await client.blobs.put(b"no model at all")
    with pytest.raises(InvalidRequestError):
        await client.drivers.publish_model("job", model=blob_ref(junk, 15), blobs=[])
    for data in model.files.values():
        await client.blobs.put(data)
    about_another = model_pb2.Statement(model_sha256=b"x" * 32).SerializeToString()
    statement = blob_ref(await client.blobs.put(about_another), len(about_another))
    with pytest.raises(InvalidRequestError, match="about another model"):
        await client.drivers.publish_model(
            "job", model=blob_ref(model.ref.digest, len(model.data)), blobs=refs(model), statements=[statement]
        )
    assert not (await client.models.list()).models


async def test_a_rollout_is_started_once_cancelled_and_rolled_back(plane: RunningControlPlane) -> None:
    digest = await publish(plane.client, linear_model())
    async with plane.agent("cam-1") as agent:
        await agent.sync()
    rollout = await plane.client.rollouts.start({"*": digest}, client_request_id="once")
    again = await plane.client.rollouts.start({"*": digest}, client_request_id="once")
    assert again.id == rollout.id
    assert [device.device_id for wave in rollout.waves for device in wave.devices] == ["cam-1"]
    cancelled = await plane.client.rollouts.cancel(rollout.id)
    assert (await plane.client.rollouts.cancel(rollout.id)).state == cancelled.state
    with pytest.raises(NotFoundError):
        await plane.client.rollouts.start({"*": "ab" * 32})
    with pytest.raises(NotFoundError):
        await plane.client.rollouts.start({"*": digest}, device_ids=["stranger"])
    with pytest.raises(InvalidRequestError):
        await plane.client.rollouts.start({})
    listed = await plane.client.rollouts.list()
    assert [entry.id for entry in listed.rollouts] == [rollout.id]


async def test_rolling_back_gives_the_previous_model_as_a_new_generation(plane: RunningControlPlane) -> None:
    old, new = [await publish(plane.client, linear_model(seed)) for seed in (1, 2)]

    def begin(session):
        rollout = session.rollouts.get(started.id)
        wave = rollout.waves[0]
        model = session.models.get(new)
        given = session.devices.assign("cam-1", model, rollout_id=rollout.id)
        entry = dataclasses.replace(wave.devices[0], generation=given.generation)
        waves = (dataclasses.replace(wave, devices=(entry,)), *rollout.waves[1:])
        session.rollouts.put(dataclasses.replace(rollout, waves=waves))
        return given

    async with plane.agent("cam-1") as agent:
        await agent.sync(running_model_sha256=bytes.fromhex(old))
        started = await plane.client.rollouts.start({"*": new})
        given = await plane.database.write(begin)
        back = await plane.client.rollouts.rollback(started.id)
        assert (await plane.client.rollouts.rollback(started.id)).state == back.state
        answer = await agent.sync(running_model_sha256=bytes.fromhex(old), generation=given.generation)
        assert answer.assignment.generation == given.generation + 1
        assert answer.assignment.model.sha256.hex() == old


async def test_a_policy_that_is_applied_again_unchanged_is_no_news(plane: RunningControlPlane) -> None:
    text = (
        "apiVersion: espalier/v1\nkind: RecompressionPolicy\nmetadata: {name: keep}\n"
        "spec: {modelName: m, triggers: {accuracy: {floor: 0.8}}}\n"
    )
    await plane.client.policies.apply(text)
    revision = plane.database.revision
    await plane.client.policies.apply(text)
    assert plane.database.revision == revision


async def test_returned_samples_are_for_the_job_they_were_returned_for(
    plane: RunningControlPlane, tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("")
    text = (Path(__file__).parents[2] / "examples" / "digits" / "job.yaml").read_text()
    job = await plane.client.submit_job(text, tmp_path / "code")

    def write(session):
        session.jobs.put(dataclasses.replace(session.jobs.get(job.id), sample_device_ids=("cam-1",)))
        for device in ("cam-1", "cam-2"):
            body = [fleet_pb2.Sample(seq=seq, model_sha256=b"x" * 32, raw=b"1") for seq in range(1, 301)]
            session.samples.add(device, body)

    await plane.database.write(write)
    samples = [stored async for stored in plane.client.drivers.list_samples(job.id)]
    assert [stored.sample.seq for stored in samples] == list(range(1, 301))
    assert {stored.device_id for stored in samples} == {"cam-1"}
    with pytest.raises(InvalidRequestError, match="may not train on samples of cam-2"):
        _ = [stored async for stored in plane.client.drivers.list_samples(job.id, device_ids=["cam-2"])]
