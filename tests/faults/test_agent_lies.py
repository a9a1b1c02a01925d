"""A control plane that lies, forgets and falls silent; the device stays right, and serves."""

from __future__ import annotations

import asyncio

import pytest

from tests.agents import Application, agent_config, eventually, running_agent
from tests.models import linear_model
from tests.simulators import SimulatedControlPlane


@pytest.fixture
async def control_plane():
    simulated = SimulatedControlPlane(chunk_bytes=100)
    await simulated.start()
    yield simulated
    await simulated.stop()


async def test_wrong_bytes_are_fetched_again_and_never_served(control_plane, tmp_path):
    model = linear_model()
    control_plane.lies.wrong_bytes = dict.fromkeys(model.files, 1)
    control_plane.assign(control_plane.publish(model), 1)
    async with running_agent(agent_config(tmp_path, control_plane.address)) as agent:
        await control_plane.until_state("COMMITTED", 1)
        assert agent.running == model.ref


async def test_bytes_that_stay_wrong_fail_the_action_and_the_old_model_serves(control_plane, tmp_path):
    async with running_agent(agent_config(tmp_path, control_plane.address)) as agent:
        old = control_plane.publish(linear_model())
        control_plane.assign(old, 1)
        await control_plane.until_state("COMMITTED", 1)
        bad = linear_model(1)
        control_plane.lies.wrong_bytes = {bad.ref.digest: 100}
        control_plane.assign(control_plane.publish(bad), 2)
        report = await control_plane.until_state("FAILED", 2)
        assert bad.ref.digest in report.detail
        async with Application(agent.server.address) as application:
            assert (await application.infer()).model_version == old.digest


async def test_chunks_that_come_twice_are_not_written_twice(control_plane, tmp_path):
    control_plane.lies.repeats_chunks = True
    control_plane.assign(control_plane.publish(linear_model()), 1)
    async with running_agent(agent_config(tmp_path, control_plane.address)):
        report = await control_plane.until_state("FAILED", 1)
    assert "offset" in report.detail


async def test_a_blob_that_is_not_there_fails_the_action(control_plane, tmp_path):
    control_plane.assign(linear_model().ref, 1)
    async with running_agent(agent_config(tmp_path, control_plane.address)):
        report = await control_plane.until_state("FAILED", 1)
    assert "NOT_FOUND" in report.detail


async def test_a_stated_size_that_is_not_the_real_one_fails_the_action(control_plane, tmp_path):
    ref = control_plane.publish(linear_model())
    control_plane.assign(type(ref)(digest=ref.digest, size_bytes=ref.size_bytes + 1), 1)
    async with running_agent(agent_config(tmp_path, control_plane.address)):
        await control_plane.until_state("FAILED", 1)


async def test_a_download_that_takes_too_long_is_given_up(control_plane, tmp_path):
    control_plane.lies.chunk_delay_s = 0.2
    control_plane.assign(control_plane.publish(linear_model()), 1)
    config = agent_config(tmp_path, control_plane.address, timeouts__downloading_s="0.3")
    async with running_agent(config):
        report = await control_plane.until_state("FAILED", 1)
    assert report.detail == "timed out in downloading"


async def test_a_lost_report_answer_does_not_lose_or_reorder_states(control_plane, tmp_path):
    control_plane.lies.loses_report_answers = 3
    control_plane.assign(control_plane.publish(linear_model()), 1)
    async with running_agent(agent_config(tmp_path, control_plane.address)) as agent:
        await control_plane.until_state("COMMITTED", 1)
        await eventually(lambda: not agent.life.outbox)
    assert [report.seq for report in control_plane.reports] == [1, 2, 3, 4, 5, 6]


async def test_refused_reports_do_not_stop_the_agent(control_plane, tmp_path):
    control_plane.lies.refuses_reports = True
    ref = control_plane.publish(linear_model())
    control_plane.assign(ref, 1)
    async with running_agent(agent_config(tmp_path, control_plane.address)) as agent:
        await eventually(lambda: agent.running == ref)
        await eventually(lambda: not agent.life.outbox)


async def test_needless_doorbells_and_repeated_assignments_change_nothing(control_plane, tmp_path):
    control_plane.lies.rings_without_reason = 50
    control_plane.assign(control_plane.publish(linear_model()), 1)
    async with running_agent(agent_config(tmp_path, control_plane.address)):
        await control_plane.until_state("COMMITTED", 1)
        seen = len(control_plane.syncs)
        control_plane.ring()
        await control_plane.until(lambda: len(control_plane.syncs) > seen)
    assert control_plane.states(1).count("ASSIGNED") == 1


async def test_a_cursor_that_falls_back_leaves_an_explicit_hole_and_nothing_is_counted_twice(control_plane, tmp_path):
    control_plane.assign(control_plane.publish(linear_model()), 1)
    config = agent_config(tmp_path, control_plane.address, telemetry__spool_bytes=str(64 << 10))
    async with running_agent(config) as agent:
        await control_plane.until_state("COMMITTED", 1)
        async with Application(agent.server.address) as application:
            await application.infer()
            await control_plane.until(lambda: sum(w.requests for w in control_plane.windows) == 1)
            control_plane.lies.forgets_cursor_to = 1
            await control_plane.until(lambda: 1 in control_plane.telemetry and len(control_plane.telemetry) > 2)
            await control_plane.until(lambda: sum(w.requests for w in control_plane.windows) == 1)
    assert sorted(control_plane.telemetry) == list(range(1, len(control_plane.telemetry) + 1))


async def test_what_was_counted_while_the_control_plane_was_away_arrives_later(control_plane, tmp_path):
    control_plane.assign(control_plane.publish(linear_model()), 1)
    async with running_agent(agent_config(tmp_path, control_plane.address)) as agent:
        await control_plane.until_state("COMMITTED", 1)
        control_plane.lies.is_unavailable = True
        async with Application(agent.server.address) as application:
            for _ in range(10):
                await application.infer()
                await asyncio.sleep(0.03)
        await eventually(lambda: agent.telemetry.pending >= 3)
        control_plane.lies.is_unavailable = False
        await control_plane.until(lambda: sum(w.requests for w in control_plane.windows) == 10)


async def test_a_control_plane_that_comes_back_elsewhere_in_time_is_found_again(control_plane, tmp_path):
    port = int(control_plane.address.rpartition(":")[2])
    async with running_agent(agent_config(tmp_path, control_plane.address)) as agent:
        await control_plane.until(lambda: control_plane.syncs)
        await control_plane.stop()
        ref = control_plane.publish(linear_model())
        control_plane.assign(ref, 1)
        await control_plane.start(port)
        await control_plane.until_state("COMMITTED", 1)
        assert agent.running == ref
