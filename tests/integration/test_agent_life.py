"""A whole life of an agent against a control plane on a real socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from protos import fleet_pb2 as pb
from tests.agents import INPUT, Application, agent_config, eventually, running_agent
from tests.models import linear_model, with_wrong_golden
from tests.simulators import SimulatedControlPlane

FIRST_LIFE = ["ASSIGNED", "DOWNLOADING", "VERIFYING", "STAGED", "ACTIVATING", "COMMITTED"]


@pytest.fixture
async def control_plane():
    simulated = SimulatedControlPlane()
    await simulated.start()
    yield simulated
    await simulated.stop()


async def commit_first(control_plane: SimulatedControlPlane, seed: int = 0):
    ref = control_plane.publish(linear_model(seed))
    control_plane.assign(ref, 1)
    await control_plane.until_state("COMMITTED", 1)
    return ref


async def test_a_model_is_downloaded_verified_and_served(control_plane, tmp_path):
    ref = control_plane.publish(linear_model())
    control_plane.assign(ref, 1)
    async with running_agent(agent_config(tmp_path, control_plane.address)) as agent:
        await control_plane.until_state("COMMITTED", 1)
        async with Application(agent.server.address) as application:
            response = await application.infer()
        assert response.model_version == ref.digest
        assert control_plane.states(1) == FIRST_LIFE
        assert control_plane.device_ids == {"camera-1"}
        await control_plane.until(lambda: control_plane.syncs[-1].running_model_sha256.hex() == ref.digest)


async def test_telemetry_reaches_the_control_plane_once(control_plane, tmp_path):
    ref = control_plane.publish(linear_model())
    control_plane.assign(ref, 1)
    control_plane.lies.loses_telemetry_answers = 2
    async with running_agent(agent_config(tmp_path, control_plane.address)) as agent:
        await control_plane.until_state("COMMITTED", 1)
        async with Application(agent.server.address) as application:
            for i in range(20):
                response = await application.infer(bytes([i] * 16), request_id=f"r{i}")
                await application.label(response.id, i % 10)
            await application.label("never-seen", 0)
        await control_plane.until(lambda: sum(w.feedback_unmatched for w in control_plane.windows) == 1)
    windows = [w for w in control_plane.windows if w.model_sha256.hex() == ref.digest]
    assert sum(w.requests for w in windows) == 20
    assert sum(w.labelled for w in windows) == 20
    assert sum(sum(w.class_counts) for w in windows) == 20
    assert sum(sum(w.confidence_histogram) for w in windows) == 20
    assert sum(sum(w.engine_latency_us.counts) for w in windows) == 20
    assert all(w.rss_bytes > 0 for w in windows)
    assert sorted(control_plane.telemetry) == list(range(1, len(control_plane.telemetry) + 1))


async def test_a_cut_download_resumes_where_it_ended(control_plane, tmp_path):
    model = linear_model()
    control_plane.assign(control_plane.publish(model), 1)
    control_plane.chunk_bytes = 64
    control_plane.lies.cut_after_bytes = [100, 300, 200]
    async with running_agent(agent_config(tmp_path, control_plane.address)):
        await control_plane.until_state("COMMITTED", 1)
    assert control_plane.served_bytes == sum(len(data) for data in model.files.values())


async def test_golden_vectors_that_do_not_match_keep_the_old_model_serving(control_plane, tmp_path):
    async with running_agent(agent_config(tmp_path, control_plane.address)) as agent:
        old = await commit_first(control_plane)
        control_plane.assign(control_plane.publish(with_wrong_golden(linear_model(1))), 2)
        report = await control_plane.until_state("FAILED", 2)
        assert "golden case 0 differs" in report.detail
        async with Application(agent.server.address) as application:
            assert (await application.infer()).model_version == old.digest


async def test_a_model_beyond_the_limits_is_rejected_before_its_tensors_are_fetched(control_plane, tmp_path):
    model = linear_model()
    config = agent_config(tmp_path, control_plane.address, limits__model_bytes=str(len(model.data) + 10))
    control_plane.assign(control_plane.publish(model), 1)
    async with running_agent(config):
        report = await control_plane.until_state("REJECTED", 1)
    assert "limits.model_bytes" in report.detail
    assert control_plane.served_bytes == len(model.data)


async def test_going_back_to_the_previous_model_downloads_nothing(control_plane, tmp_path):
    async with running_agent(agent_config(tmp_path, control_plane.address)) as agent:
        old = await commit_first(control_plane)
        control_plane.assign(control_plane.publish(linear_model(1)), 2)
        await control_plane.until_state("COMMITTED", 2)
        served = control_plane.served_bytes
        control_plane.assign(old, 3)
        await control_plane.until_state("COMMITTED", 3)
        assert control_plane.served_bytes == served
        assert agent.running == old


async def test_versions_that_share_tensors_share_downloads(control_plane, tmp_path):
    first, second = linear_model(), with_wrong_golden(linear_model())
    shared = set(first.blobs) & set(second.blobs)
    assert shared
    async with running_agent(agent_config(tmp_path, control_plane.address)):
        await commit_first(control_plane)
        control_plane.assign(control_plane.publish(second), 2)
        await control_plane.until_state("FAILED", 2)
    asked = {r.sha256.hex() for request in control_plane.blob_requests[-2:] for r in request.ranges}
    assert not asked & shared


async def test_a_stale_generation_changes_nothing(control_plane, tmp_path):
    async with running_agent(agent_config(tmp_path, control_plane.address)) as agent:
        first = control_plane.publish(linear_model())
        control_plane.assign(first, 5)
        await control_plane.until_state("COMMITTED", 5)
        control_plane.assign(control_plane.publish(linear_model(1)), 4)
        for _ in range(2):
            seen = len(control_plane.syncs)
            control_plane.ring()
            await control_plane.until(lambda seen=seen: len(control_plane.syncs) > seen)
        assert agent.running == first
        assert control_plane.states(4) == []


PROBATION = pb.Probation(timeout_s=60, max_error_rate=0.1, slower_ratio=1000, guard_min_requests=5)


async def test_probation_pairs_both_versions_and_commits_on_the_verdict(control_plane, tmp_path):
    async with running_agent(agent_config(tmp_path, control_plane.address)) as agent:
        old = await commit_first(control_plane)
        new = control_plane.publish(linear_model(1))
        control_plane.assign(new, 2, probation=PROBATION)
        await control_plane.until_state("PROBATION", 2)
        async with Application(agent.server.address) as application:
            for i in range(40):
                response = await application.infer(bytes([i * 6] * 16))
                assert response.model_version == old.digest
                await application.label(response.id, i % 10)
            await control_plane.until(
                lambda: [r for r in control_plane.reports if r.generation == 2 and r.pairs.pairs == 40]
            )
            control_plane.commit(2)
            report = await control_plane.until_state("COMMITTED", 2)
            assert (await application.infer()).model_version == new.digest
    pairs = report.pairs
    assert pairs.pairs == 40
    assert pairs.both_correct + pairs.only_old_correct + pairs.only_new_correct + pairs.both_wrong == 40
    assert sum(pairs.old_engine_latency_us.counts) == sum(pairs.new_engine_latency_us.counts) == 40
    assert agent.life.previous == old


async def test_probation_without_a_verdict_reverts_by_itself(control_plane, tmp_path):
    terms = pb.Probation(timeout_s=0.3, guard_min_requests=5)
    async with running_agent(agent_config(tmp_path, control_plane.address)) as agent:
        old = await commit_first(control_plane)
        control_plane.assign(control_plane.publish(linear_model(1)), 2, probation=terms)
        await control_plane.until_state("PROBATION", 2)
        control_plane.lies.is_unavailable = True  # offline too
        await eventually(lambda: agent.life.state.name == "ROLLED_BACK")
        assert agent.running == old
        assert agent.host.activated is None
        control_plane.lies.is_unavailable = False
        report = await control_plane.until_state("ROLLED_BACK", 2)
        assert "timed out" in report.detail


async def test_a_latency_ceiling_reverts_on_the_device(control_plane, tmp_path):
    terms = pb.Probation(timeout_s=60, max_latency_p95_ms=1e-6, guard_min_requests=5)
    async with running_agent(agent_config(tmp_path, control_plane.address)) as agent:
        old = await commit_first(control_plane)
        control_plane.assign(control_plane.publish(linear_model(1)), 2, probation=terms)
        await control_plane.until_state("PROBATION", 2)
        async with Application(agent.server.address) as application:
            for _ in range(12):
                assert (await application.infer()).model_version == old.digest
        report = await control_plane.until_state("ROLLED_BACK", 2)
        assert "ceiling" in report.detail
        assert report.pairs.pairs >= 5


async def test_a_newer_assignment_supersedes_a_probation(control_plane, tmp_path):
    async with running_agent(agent_config(tmp_path, control_plane.address)) as agent:
        old = await commit_first(control_plane)
        control_plane.assign(control_plane.publish(linear_model(1)), 2, probation=PROBATION)
        await control_plane.until_state("PROBATION", 2)
        control_plane.assign(old, 3)
        await control_plane.until_state("COMMITTED", 3)
        assert control_plane.states(2)[-1] == "ROLLED_BACK"
        assert agent.running == old


async def test_a_restart_without_network_serves_the_last_good_model(control_plane, tmp_path):
    config = agent_config(tmp_path, control_plane.address)
    async with running_agent(config):
        ref = await commit_first(control_plane)
    await control_plane.stop()
    async with running_agent(config) as agent, Application(agent.server.address) as application:
        assert (await application.infer()).model_version == ref.digest


async def test_probation_is_taken_up_again_after_a_restart(control_plane, tmp_path):
    config = agent_config(tmp_path, control_plane.address)
    async with running_agent(config) as agent:
        await commit_first(control_plane)
        control_plane.assign(control_plane.publish(linear_model(1)), 2, probation=PROBATION)
        await control_plane.until_state("PROBATION", 2)
        async with Application(agent.server.address) as application:
            for _ in range(10):
                await application.infer()
            await control_plane.until(lambda: control_plane.reports[-1].pairs.pairs == 10)
    async with running_agent(config) as agent, Application(agent.server.address) as application:
        await eventually(lambda: agent.host.probation is not None)
        for _ in range(5):
            await application.infer()
        await control_plane.until(lambda: control_plane.reports[-1].pairs.pairs == 15)


async def test_a_model_damaged_on_disk_is_replaced_by_the_previous_and_fetched_again(control_plane, tmp_path):
    config = agent_config(tmp_path, control_plane.address)
    async with running_agent(config):
        old = await commit_first(control_plane)
        new = control_plane.publish(linear_model(1))
        control_plane.assign(new, 2)
        await control_plane.until_state("COMMITTED", 2)
    damage(tmp_path / "blobs" / new.digest)
    control_plane.lies.is_unavailable = True
    async with running_agent(config) as agent:
        assert agent.running == old
        control_plane.lies.is_unavailable = False
        await eventually(lambda: agent.running == new)
        assert agent.life.current == new


async def test_candidates_are_benchmarked_and_then_forgotten(control_plane, tmp_path):
    async with running_agent(agent_config(tmp_path, control_plane.address)):
        await commit_first(control_plane)
        candidate = control_plane.publish(linear_model(3))
        control_plane.ask_for_benchmark("b1", candidate, runs=30)
        (report,) = await control_plane.until(lambda: control_plane.benchmark_reports)
        assert report.error == ""
        assert report.measurement.runs == 30
        assert 0 < report.measurement.latency_p50_us <= report.measurement.latency_p95_us
        assert report.measurement.peak_ram_bytes > 0
        await eventually(lambda: not (tmp_path / "blobs" / candidate.digest).exists())


async def test_a_benchmark_of_a_model_that_is_too_large_says_so(control_plane, tmp_path):
    model = linear_model(3)
    config = agent_config(tmp_path, control_plane.address, limits__ram_bytes="100")
    async with running_agent(config):
        control_plane.ask_for_benchmark("b1", control_plane.publish(model))
        (report,) = await control_plane.until(lambda: control_plane.benchmark_reports)
        assert "limits.ram_bytes" in report.error


async def test_labelled_inputs_return_with_consent_and_within_the_quota(control_plane, tmp_path):
    control_plane.quota = pb.SampleQuota(wanted=True, remaining=3)
    async with running_agent(agent_config(tmp_path, control_plane.address, samples__consent="true")) as agent:
        await commit_first(control_plane)
        async with Application(agent.server.address) as application:
            kept = [(await application.label((await application.infer()).id, 4)).input_kept for _ in range(6)]
        await control_plane.until(lambda: len(control_plane.samples) == 3)
    assert kept == [True, True, True, False, False, False]
    assert all(s.raw == INPUT and s.label == 4 for s in control_plane.samples.values())


async def test_no_input_leaves_the_device_without_consent(control_plane, tmp_path):
    control_plane.quota = pb.SampleQuota(wanted=True, remaining=100)
    async with running_agent(agent_config(tmp_path, control_plane.address)) as agent:
        await commit_first(control_plane)
        async with Application(agent.server.address) as application:
            outcome = await application.label((await application.infer()).id, 4)
    assert outcome.matched
    assert not outcome.input_kept
    assert not (tmp_path / "samples").exists()


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
