"""Messages as the data that scripts and the web page read."""

from __future__ import annotations

import json

from edge_agent.sketch import LatencySketch
from orchestrator.plain import to_plain
from protos import fleet_pb2, model_pb2, operator_pb2


def test_states_are_lower_case_words_and_digests_are_hex() -> None:
    job = to_plain(operator_pb2.Job(id="j", state=operator_pb2.JOB_RUNNING, working_dir_sha256=bytes(range(32))))
    assert job["state"] == "running"
    assert job["working_dir_sha256"] == bytes(range(32)).hex()
    assert to_plain(operator_pb2.Device(action_state=fleet_pb2.ROLLED_BACK))["action_state"] == "rolled_back"
    assert to_plain(operator_pb2.Rollout(state=operator_pb2.ROLLOUT_HALTED))["state"] == "halted"
    assert to_plain(operator_pb2.Job())["state"] == "", "a state that was not set says nothing"


def test_every_field_is_there_and_an_absent_message_is_none() -> None:
    device = to_plain(operator_pb2.Device(id="porch"))
    assert set(device) == {field.name for field in operator_pb2.Device.DESCRIPTOR.fields}
    assert device["facts"] is None
    assert device["online"] is False


def test_a_state_from_a_newer_server_does_not_break_an_older_reader() -> None:
    message = operator_pb2.Job.FromString(b"\x18\x63")  # state = 99
    assert to_plain(message)["state"] == "unknown (99)"


def test_numbers_stay_numbers_and_everything_is_json() -> None:
    decision = to_plain(operator_pb2.Decision(decided_at_ms=2**53, evidence_json='{"labelled": 300}'))
    assert decision["decided_at_ms"] == 2**53
    assert decision["evidence"] == {"labelled": 300}
    assert json.loads(json.dumps(decision)) == decision
    assert to_plain(operator_pb2.Decision(evidence_json="{broken"))["evidence"] == "{broken"


def test_a_map_is_a_mapping() -> None:
    assert to_plain(model_pb2.Lineage(versions={"torch": "2.13.0"}))["versions"] == {"torch": "2.13.0"}


def test_a_sketch_is_its_quantiles_and_a_malformed_one_says_so() -> None:
    sketch = LatencySketch()
    for value in range(1, 101):
        sketch.add(float(value))
    plain = to_plain(fleet_pb2.Window(engine_latency_us=sketch.to_proto()))["engine_latency_us"]
    assert plain["count"] == 100
    assert abs(plain["p95"] - 95) <= 2
    assert "error" in to_plain(fleet_pb2.Sketch(relative_error=0.01, bins=[1, 2], counts=[1]))
