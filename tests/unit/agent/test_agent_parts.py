"""Parts of the agent by themselves: configuration, feedback, windows, probation, status table."""

from __future__ import annotations

import inspect
import math
import os
import random
from array import array
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import errors
from edge_agent.client import Backoff
from edge_agent.config import FeedbackConfig, SamplesConfig, is_loopback, load_config
from edge_agent.errors import ConfigError, RefusedError
from edge_agent.feedback import LateLabel, PendingLabel, PendingLabels
from edge_agent.life import ProbationTerms
from edge_agent.messages import read_assignment
from edge_agent.predictor import Predictor
from edge_agent.probation import PairedProbation
from edge_agent.runtime import load_model
from edge_agent.samples import SampleKeeper
from edge_agent.sketch import LatencySketch
from edge_agent.status import STATUS_OF
from edge_agent.telemetry import TelemetryLog, WindowRecorder
from edge_agent.verify import VerifiedModel
from protos import fleet_pb2 as pb
from protos import model_pb2
from tests.agents import INPUT
from tests.models import linear_model

# Configuration.


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path):
    file = tmp_path / "agent.toml"
    file.write_text('[device]\nid = "from-file"\ndevice_class = "from-file"\nstate_dir = "from-file"\n')
    environment = {"ESPALIER_AGENT_DEVICE_ID": "from-env", "ESPALIER_AGENT_DEVICE_DEVICE_CLASS": "from-env"}
    config = load_config(file, environment, {"device.id": "from-flag"})
    assert (config.device.id, config.device.device_class) == ("from-flag", "from-env")
    assert config.device.state_dir == Path("from-file")


WRONG_CONFIGURATIONS = {
    "[servng]\nlisten = 1": "did you mean 'serving'",
    "[serving]\nlisen = 1": "did you mean 'listen'",
    "id = 1": "outside a section",
    "[serving": "not valid TOML",
    "[serving]\nmax_batch = 1.5": "a whole number",
    "[serving]\nmax_batch = true": "a whole number",
    "[serving]\nmax_batch = 0": "within [1, 4096]",
    '[samples]\nconsent = "perhaps"': "true or false",
    '[device]\nid = "../../etc"': "device.id",
    '[serving]\nlisten = "0.0.0.0:8001"': "--insecure",
    '[control_plane]\naddress = "example.org:7443"': "--insecure",
    '[control_plane]\naddress = "nonsense"': "host:port",
    '[serving]\nlisten = "unix:/' + "x" * 200 + '"': "1 to 107 bytes",
    "[timeouts]\nassigned_s = 0": "timeouts.assigned_s",
    "[telemetry]\nwindow_s = nan": "window_s",
    '[logging]\nlevel = "LOUD"': "not a level",
}


@pytest.mark.parametrize("text", WRONG_CONFIGURATIONS)
def test_a_wrong_configuration_names_the_key_and_the_remedy(tmp_path, text):
    file = tmp_path / "agent.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert WRONG_CONFIGURATIONS[text] in str(caught.value)


def test_an_unknown_variable_is_an_error_and_foreign_ones_are_not():
    load_config(None, dict(os.environ) | {"ESPALIER_ENGINE_PATH": "portable"})
    with pytest.raises(ConfigError, match="names no section"):
        load_config(None, {"ESPALIER_AGENT_COLOUR": "red"})


@pytest.mark.parametrize(
    ("host", "is_local"), [("127.0.0.9", True), ("[::1]", True), ("::", False), ("10.0.0.1", False)]
)
def test_loopback_is_told_from_the_rest(host, is_local):
    assert is_loopback(host) is is_local


# Errors.


def test_every_error_has_a_status():
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.EspalierError)]
    assert set(kinds) == set(STATUS_OF)
    assert grpc.StatusCode.UNKNOWN not in STATUS_OF.values()


def test_backoff_has_full_jitter_grows_and_is_capped():
    backoff = Backoff(1.0, 8.0, random.Random(3))
    waits = [backoff.next_s() for _ in range(200)]
    assert waits[0] <= 1.0
    assert max(waits) <= 8.0
    assert min(waits[10:]) < 1.0
    backoff.reset()
    assert backoff.next_s() <= 1.0


# Messages.


def assignment(**changes: object) -> pb.Assignment:
    fields = {
        "generation": 1,
        "action_id": "a",
        "model": model_pb2.BlobRef(sha256=bytes(32), size_bytes=5),
        "probation": pb.Probation(),
    }
    return pb.Assignment(**(fields | changes))


def test_a_sound_assignment_is_read():
    assert read_assignment(assignment()).probation == ProbationTerms()
    assert read_assignment(assignment(probation=None)).probation is None


@pytest.mark.parametrize(
    "changes",
    [
        {"generation": 0},
        {"action_id": ""},
        {"model": model_pb2.BlobRef(sha256=b"short", size_bytes=5)},
        {"model": model_pb2.BlobRef(sha256=bytes(32))},
        {"probation": pb.Probation(timeout_s=math.nan)},
        {"probation": pb.Probation(max_error_rate=-1)},
    ],
)
def test_an_assignment_that_makes_no_sense_is_refused(changes):
    with pytest.raises(RefusedError):
        read_assignment(assignment(**changes))


# Feedback.


def pending(at: float = 0.0, data: bytes | None = None) -> PendingLabel:
    return PendingLabel(digest="a" * 64, predicted=1, classes=10, answered_at=at, answered_at_ms=0, input=data)


@given(st.lists(st.tuples(st.integers(0, 20), st.none() | st.binary(max_size=64), st.booleans()), max_size=60))
def test_waiting_requests_are_bounded_in_number_and_bytes(steps):
    labels = PendingLabels(FeedbackConfig(max_pending=5, input_bytes=100))
    for number, data, is_label in steps:
        if is_label:
            labels.take(str(number), 0.0)
        else:
            labels.add(str(number), pending(data=data))
        assert len(labels) <= 5
        assert 0 <= labels.input_bytes <= 100
    for number in range(21):
        labels.take(str(number), 0.0)
    assert (len(labels), labels.input_bytes) == (0, 0)


def test_a_late_label_is_told_from_an_unknown_one():
    labels = PendingLabels(FeedbackConfig(late_after_s=10))
    labels.add("r", pending(at=0.0))
    with pytest.raises(LateLabel):
        labels.take("r", 11.0)
    assert labels.take("r", 11.0) is None


def test_feedback_can_be_turned_off():
    labels = PendingLabels(FeedbackConfig(max_pending=0))
    labels.add("r", pending())
    assert labels.take("r", 0.0) is None


# Samples.


def test_samples_are_kept_within_the_quota_and_survive_a_restart(tmp_path):
    keeper = SampleKeeper(tmp_path / "samples", SamplesConfig(consent=True))
    assert not keeper.keep(pending(data=b"x"), 1)
    keeper.set_quota(wanted=True, remaining=2)
    assert [keeper.keep(pending(data=b"x"), 1) for _ in range(3)] == [True, True, False]
    keeper.close()
    again = SampleKeeper(tmp_path / "samples", SamplesConfig(consent=True))
    batch = again.batch()
    assert [sample.seq for sample in batch.samples] == [1, 2]
    again.acknowledge(pb.PushSamplesResponse(next_seq=3, quota_remaining=1))
    assert again.batch() is None
    assert again.is_collecting
    again.close()


def test_withdrawn_consent_deletes_what_has_not_left(tmp_path):
    keeper = SampleKeeper(tmp_path / "samples", SamplesConfig(consent=True))
    keeper.set_quota(wanted=True, remaining=2)
    keeper.keep(pending(data=b"x"), 1)
    keeper.close()
    SampleKeeper(tmp_path / "samples", SamplesConfig(consent=False)).close()
    assert not (tmp_path / "samples").exists()


# Windows.


def test_a_window_counts_each_model_apart_and_starts_anew():
    recorder = WindowRecorder(1000, 1.0)
    for confidence in (0.0, 0.5, 1.0):
        recorder.predicted("a" * 64, engine_us=10.0, predicted=2, confidence=confidence, classes=4)
    recorder.failed("b" * 64)
    recorder.labelled("a" * 64, correct=True)
    recorder.label_late()
    a, b = recorder.close(2000, serving="a" * 64, cpu_seconds=1.5, rss_bytes=7)
    assert (a.requests, a.errors, b.requests, b.errors) == (3, 0, 1, 1)
    assert list(a.class_counts) == [0, 0, 3, 0]
    assert [i for i, n in enumerate(a.confidence_histogram) if n] == [0, 16, 31]
    assert (a.labelled, a.labelled_correct, a.feedback_late, a.cpu_seconds) == (1, 1, 1, 0.5)
    (next_window,) = recorder.close(3000, serving="a" * 64, cpu_seconds=1.5, rss_bytes=7)
    assert (next_window.start_ms, next_window.end_ms, next_window.requests) == (2000, 3000, 0)


def test_a_clock_that_steps_back_does_not_turn_a_window_around():
    recorder = WindowRecorder(1000, 0.0)
    (window,) = recorder.close(500, serving="a" * 64, cpu_seconds=0.0, rss_bytes=0)
    assert window.start_ms <= window.end_ms


def test_a_gap_in_the_log_travels_as_a_dropped_range(tmp_path):
    log = TelemetryLog(tmp_path, max_bytes=1 << 16)
    log.append([pb.Window(model_sha256=bytes(32), requests=1)] * 3000)
    first, second = log.batch().records[:2]
    assert (first.dropped.first_seq, first.dropped.last_seq) == (1, first.seq)
    assert second.seq == first.seq + 1
    log.close()


# Probation.


@pytest.fixture
def pair():
    models = [linear_model(seed) for seed in (0, 1)]
    return [
        Predictor(VerifiedModel(ref=m.ref, engine=load_model(m.data, lambda s, m=m: m.blobs[s.hex()]))) for m in models
    ]


class Failing:
    """A model on probation whose engine fails."""

    def __init__(self, predictor: Predictor) -> None:
        self.model = predictor.model

    def predict(self, x: bytes, *, raw: bool) -> None:
        raise RuntimeError("the engine failed")


def counts(probation: PairedProbation) -> pb.PairCounts:
    return pb.PairCounts.FromString(probation.to_bytes())


def test_the_application_gets_the_old_answer_and_both_are_counted(pair):
    probation = PairedProbation(*pair, ProbationTerms(slower_ratio=1e9))
    for i in range(10):
        old, new = probation.predict(bytes([i * 20] * 16), raw=True)
        assert old.q == pair[0].predict(bytes([i * 20] * 16), raw=True).q
        assert new.q == pair[1].predict(bytes([i * 20] * 16), raw=True).q
    totals = counts(probation)
    assert (totals.pairs, totals.slower, totals.new_errors) == (10, 0, 0)
    assert LatencySketch.from_proto(totals.new_engine_latency_us).count == 10


def test_counts_go_on_where_a_process_before_ended(pair):
    first = PairedProbation(*pair, ProbationTerms())
    first.predict(INPUT, raw=True)
    first.label(old_correct=True, new_correct=False)
    second = PairedProbation(*pair, ProbationTerms(), counts=first.to_bytes())
    second.predict(INPUT, raw=True)
    second.label(old_correct=False, new_correct=False)
    totals = counts(second)
    assert (totals.pairs, totals.only_old_correct, totals.both_wrong) == (2, 1, 1)
    assert LatencySketch.from_proto(totals.old_engine_latency_us).count == 2


def test_the_error_guard_speaks_after_enough_requests_and_the_application_notices_nothing(pair, caplog):
    probation = PairedProbation(pair[0], Failing(pair[1]), ProbationTerms(max_error_rate=0.5, guard_min_requests=4))
    for _ in range(3):
        assert probation.predict(INPUT, raw=True)[1] is None
        assert probation.tripped_guard() is None
    probation.predict(INPUT, raw=True)
    assert "4 of 4 requests failed" in probation.tripped_guard()
    assert sum(record.levelname == "ERROR" for record in caplog.records) == 1


def test_the_stricter_of_both_latency_ceilings_holds(pair):
    lax = ProbationTerms(max_latency_p95_ms=1e6, max_error_rate=1.0)
    probation = PairedProbation(*pair, lax, latency_limit_ms=1e-6)
    probation.predict(INPUT, raw=True)
    assert "ceiling" in probation.tripped_guard()
    probation = PairedProbation(*pair, lax)
    probation.predict(INPUT, raw=True)
    assert probation.tripped_guard() is None


def test_confidence_is_the_softmax_of_the_dequantized_output(pair):
    prediction = pair[0].predict(INPUT, raw=True)
    logits = array("f", pair[0].model.engine.dequantize(prediction.q))
    exponentials = [math.exp(value - max(logits)) for value in logits]
    assert prediction.confidence == pytest.approx(1 / sum(exponentials), rel=1e-5)
    assert prediction.predicted == logits.index(max(logits))
