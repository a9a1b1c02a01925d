"""Documents that operators write are read strictly, and what is wrong with one is said where it is wrong."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.spec import (
    CascadeSpec,
    CompressionJobSpec,
    RecompressionPolicySpec,
    SpecError,
    dump,
    list_keys,
    parse,
    parse_all,
    parse_job,
    parse_policy,
    render_markdown,
)

JOB = """\
apiVersion: espalier/v1
kind: CompressionJob
metadata: {name: fashion}
spec:
  modelName: fashion
  seed: 7
  data:
    entrypoint: "workload:load_data"
    args: {folder: "/data", limit: 100, ratio: 0.5, names: [a, "b"], deep: {on: true, none: null}}
  teacher: {entrypoint: "workload:teacher", epochs: 2, workers: 1, batchSize: 128, learningRate: 0.05}
  student: {entrypoint: "workload:student", epochs: 3, temperature: 4.0, alpha: 0.7}
  candidates:
    - {name: int8, quantize: {scheme: integer, weightBits: 8}}
    - {name: int8-pruned, prune: {macsFraction: 0.5, epochs: 1}}
    - {name: pow2-w4, quantize: {scheme: power-of-two, weightBits: 4}}
    - name: mixed
      prune: {weightsFraction: 0.5, importance: answers, alpha: 0.9, objective: decoupled, learningRate: 0.01}
      quantize: {layerBits: {stem.0: 8, 7: 2}, calibrationCount: 64}
    - {name: rules, rules: {rules: 16, trees: 1, depth: 8, cascade: {mostDrop: 0.01, leastAnswered: 0.6}}}
  benchmark: {warmup: 20, runs: 200, devices: 1}
  targets:
    - {deviceClass: gateway, accuracyFloor: 0.80, latencyP95Ms: 5.0, modelBytes: 200000, objective: accuracy}
    - {deviceClass: "*"}
  rollout: {auto: true, alpha: 0.05, minPairs: 50}
"""

SEARCH = """\
apiVersion: espalier/v1
kind: CompressionJob
metadata: {name: fashion}
spec:
  modelName: fashion
  data: {entrypoint: "workload:load_data"}
  teacher: {entrypoint: "workload:teacher"}
  search: {trials: 12, budget: 600, space: {weightBits: [8, 4], macsFractions: [1, 0.5]}}
  targets: [{deviceClass: "*", accuracyDrop: 0.02}]
"""

POLICY = """\
apiVersion: espalier/v1
kind: RecompressionPolicy
metadata: {name: keep-accurate}
spec:
  modelName: fashion
  deviceClasses: ["*"]
  triggers:
    accuracy: {floor: 0.80, confidence: 0.99, minLabelled: 100, windowS: 60}
    latency: {p95BudgetMs: 5.0, minRequests: 200, windowS: 60}
    confidenceDrift: {distance: 0.2, minRequests: 500, windowS: 60}
  hysteresis: {consecutive: 2, recoverMargin: 0.02}
  cooldownS: 120
  budget: {jobs: 4, perS: 86400}
  maxConcurrentJobs: 1
  samples: {minimum: 300, perDevice: 800, retentionS: 604800}
  repair: {epochs: 3}
"""


def refused(text: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        parse(text)
    return caught.value


def line_of(text: str, fragment: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if fragment in line)


def test_a_job_reads_with_its_values_and_defaults() -> None:
    job = parse_job(JOB)
    assert (job.name, job.model_name, job.seed) == ("fashion", "fashion", 7)
    assert job.data.args == {
        "folder": "/data",
        "limit": 100,
        "ratio": 0.5,
        "names": ["a", "b"],
        "deep": {"on": True, "none": None},
    }
    assert [candidate.name for candidate in job.candidates] == ["int8", "int8-pruned", "pow2-w4", "mixed", "rules"]
    assert job.candidates[1].prune is not None
    assert job.candidates[1].quantize.weight_bits == 8
    assert job.candidates[2].quantize.scheme == "power-of-two"
    assert job.candidates[2].rules is None
    assert job.candidates[3].quantize.layer_bits == {"stem.0": 8, "7": 2}
    assert job.candidates[4].rules is not None
    assert job.candidates[4].rules.cascade == CascadeSpec(most_drop=0.01, least_answered=0.6)
    assert job.targets[1].latency_p95_ms is None
    assert job.rollout.non_inferiority_margin == 0.05


def test_a_teacher_and_a_student_may_be_onnx_files_below_the_working_directory() -> None:
    text = JOB.replace("workload:teacher", "models/teacher.onnx").replace("workload:student", "student.onnx")
    job = parse_job(text)
    assert job.student is not None
    assert (job.teacher.entrypoint, job.student.entrypoint) == ("models/teacher.onnx", "student.onnx")
    for outside in ("../teacher.onnx", "/tmp/teacher.onnx", "models/../../teacher.onnx", "teacher.pt"):
        with pytest.raises(SpecError, match="an ONNX file in the working directory"):
            parse_job(JOB.replace("workload:teacher", outside))


def test_a_policy_reads_with_its_values() -> None:
    policy = parse_policy(POLICY)
    assert policy.triggers.accuracy is not None
    assert policy.triggers.accuracy.min_labelled == 100
    assert policy.cooldown_s == 120.0
    assert isinstance(policy.cooldown_s, float)


@pytest.mark.parametrize("text", [JOB, POLICY])
def test_a_document_written_out_reads_back_the_same(text: str) -> None:
    spec = parse(text)
    assert parse(dump(spec)) == spec
    assert parse(dump(spec, complete=True)) == spec


@pytest.mark.parametrize("value", ["on", "1:30", "0x10", "é: [", "line\nbreak", "", "~", "*", "2026-01-01", "1e3"])
def test_odd_text_in_arguments_survives_being_written_out(value: str) -> None:
    job = parse_job(JOB)
    odd = type(job.data)(entrypoint=job.data.entrypoint, args={"value": value, value or "k": 1e300})
    changed = dataclasses.replace(job, data=odd)
    assert parse(dump(changed)) == changed


@pytest.mark.parametrize(
    ("before", "after", "key", "suggestion"),
    [
        ("weightBits: 4", "weightbits: 4", "spec.candidates[2].quantize.weightbits", "weightBits"),
        ("deviceClass: gateway", "device_class: gateway", "spec.targets[0].device_class", "deviceClass"),
        ("latencyP95Ms: 5.0", "latencyP95: 5.0", "spec.targets[0].latencyP95", "latencyP95Ms"),
        ("  seed: 7", "  sede: 7", "spec.sede", "seed"),
        ("scheme: power-of-two", "scheme: power_of_two", "spec.candidates[2].quantize.scheme", "power-of-two"),
        ("kind: CompressionJob", "kind: compression-job", "kind", "CompressionJob"),
        ("apiVersion: espalier/v1", "apiVersion: espalier/v2", "apiVersion", "espalier/v1"),
    ],
)
def test_a_misspelt_word_is_named_by_line_and_key_with_the_nearest_known(
    before: str, after: str, key: str, suggestion: str
) -> None:
    text = JOB.replace(before, after)
    assert text != JOB
    error = refused(text)
    assert (error.line, error.key, error.suggestion) == (line_of(text, after), key, suggestion)
    assert f"line {error.line}: {key}: " in str(error)
    assert f'did you mean "{suggestion}"?' in str(error)


@pytest.mark.parametrize(
    ("before", "after", "key", "words"),
    [
        ("seed: 7", "seed: seven", "spec.seed", "must be an integer"),
        ("seed: 7", 'seed: "7"', "spec.seed", "must be an integer"),
        ("seed: 7", "seed: 7.0", "spec.seed", "must be an integer"),
        ("seed: 7", "seed: -1", "spec.seed", "at least 0"),
        ("seed: 7", "seed: 99999999999999999999999", "spec.seed", "must be an integer"),
        ("seed: 7", "seed:", "spec.seed", "has no value"),
        ("seed: 7", "seed: [7]", "spec.seed", "must be an integer, not a list"),
        ("learningRate: 0.05", "learningRate: .nan", "spec.teacher.learningRate", "finite"),
        ("learningRate: 0.05", "learningRate: -.inf", "spec.teacher.learningRate", "finite"),
        ("learningRate: 0.05", "learningRate: 1e999", "spec.teacher.learningRate", "finite"),
        ("learningRate: 0.05", "learningRate: 0", "spec.teacher.learningRate", "above 0"),
        ("learningRate: 0.05", "learningRate: fast", "spec.teacher.learningRate", "must be a number"),
        ("ratio: 0.5", "ratio: .inf", "spec.data.args.ratio", "finite"),
        ("auto: true", "auto: yes", "spec.rollout.auto", "true or false"),
        ("modelName: fashion", "modelName: 7", "spec.modelName", "put it in quotes"),
        ("modelName: fashion", 'modelName: "a b"', "spec.modelName", "letters, digits"),
        ('"workload:teacher"', '"workload.teacher"', "spec.teacher.entrypoint", "module:callable"),
        ("weightBits: 4", "weightBits: 5", "spec.candidates[2].quantize.weightBits", "8, 6, 4, 3, 2"),
        ("weightBits: 4", "meanBits: 1.5", "spec.candidates[2].quantize.meanBits", "at least 2 and at most 8"),
        ("weightBits: 4", "effort: heroic", "spec.candidates[2].quantize.effort", "normal, high"),
        ("weightBits: 4", "training: {epochs: 0}", "spec.candidates[2].quantize.training.epochs", "at least 1"),
        ("weightBits: 4", "meanBits: 3, weightBytes: 9", "spec.candidates[2].quantize.weightBytes", "not both"),
        ("weightBits: 4", "layerBits: {stem.0: 5}", "spec.candidates[2].quantize.layerBits.stem.0", "8, 6, 4, 3, 2"),
        ("weightBits: 4", "layerBits: 8", "spec.candidates[2].quantize.layerBits", "must be a section"),
        ("weightBits: 4", "meanBits: 3, layerBits: {stem: 8}", "spec.candidates[2].quantize.layerBits", "goes without"),
        ("weightBits: 4", "calibrationCount: 0", "spec.candidates[2].quantize.calibrationCount", "at least 1"),
        ("accuracyFloor: 0.80", "compressionDrop: 2", "spec.targets[0].compressionDrop", "at most 1"),
        ("name: pow2-w4", "name: int8", "spec.candidates", "two candidates are called 'int8'"),
        ('deviceClass: "*"', "deviceClass: gateway", "spec.targets", "two targets"),
        ("  seed: 7", "  modelName: again", "spec.modelName", "given twice"),
        ("limit: 100", "folder: again", "spec.data.args.folder", "given twice"),
        ("metadata: {name: fashion}", "metadata: {}", "metadata", "needs the key 'name'"),
        ("metadata: {name: fashion}", "metadata: fashion", "metadata", "must be a section"),
        ("macsFraction: 0.5", "macsFraction: 1.0", "spec.candidates[1].prune.macsFraction", "below 1"),
        ("macsFraction: 0.5, epochs: 1", "epochs: 1", "spec.candidates[1].prune.macsFraction", "at least one of"),
        ("macsFraction: 0.5", "macsFraction: 0.5, blockRows: 4", "spec.candidates[1].prune.blockRows", "goes with"),
        (
            "macsFraction: 0.5",
            "macsFraction: 0.5, blockBudget: latency",
            "spec.candidates[1].prune.blockBudget",
            "goes with",
        ),
        (
            "macsFraction: 0.5",
            "blockSparsity: 0.6, importance: answers",
            "spec.candidates[1].prune.importance",
            "goes with",
        ),
        ("macsFraction: 0.5", "blockSparsity: 0.6, blockRows: 5", "spec.candidates[1].prune.blockRows", "4, 8"),
    ],
)
def test_a_wrong_value_is_refused_by_line_and_key(before: str, after: str, key: str, words: str) -> None:
    text = JOB.replace(before, after)
    assert text != JOB
    error = refused(text)
    assert error.key == key
    assert error.line > 0
    assert words in str(error)


def test_a_policy_without_triggers_is_refused() -> None:
    lines = [line for line in POLICY.splitlines() if "{floor" not in line and "{p95" not in line]
    text = "\n".join(line for line in lines if "confidenceDrift" not in line).replace("triggers:", "triggers: {}")
    error = refused(text)
    assert error.key == "spec.triggers"
    assert "names no trigger" in str(error)


def test_a_policy_that_waits_for_more_samples_than_it_asks_for_is_refused() -> None:
    error = refused(POLICY.replace("minimum: 300", "minimum: 900"))
    assert error.key == "spec.samples.minimum"


def test_the_other_kind_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match="must be \"CompressionJob\", not 'RecompressionPolicy'"):
        parse_job(POLICY)


def test_two_documents_are_refused_where_one_is_meant_and_read_where_many_are() -> None:
    both = JOB + "---\n" + POLICY
    assert "2 documents" in str(refused(both))
    job, policy = parse_all(both)
    assert isinstance(job, CompressionJobSpec)
    assert isinstance(policy, RecompressionPolicySpec)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x [1]\nb: *x", "anchors and aliases"),
        ("!!python/object/apply:os.system ['true']", "tags"),
        ("a: !!float 1", "tags"),
        ("[" * 5000, "nested deeper"),
        ("a: [1", "not valid YAML"),
        ("a: \x00", "not valid YAML"),
        ("#" * (2 << 20), "longer than"),
        ("", "0 documents"),
        ("- a", "must be a section"),
        ("? [a]\n: b", "a key must be text"),
    ],
)
def test_hostile_or_broken_text_ends_in_a_spec_error(text: str, words: str) -> None:
    assert words in str(refused(text))


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:[]{}-\"'\n #&*!|>?%@`,1.e~\\\t"), max_size=60))
def test_any_text_reads_or_ends_in_a_spec_error(text: str) -> None:
    with pytest.raises(SpecError):
        parse(text)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(JOB) - 1), st.integers(0, 12), st.text(max_size=4))
def test_a_damaged_job_reads_or_ends_in_a_spec_error(position: int, removed: int, inserted: str) -> None:
    text = JOB[:position] + inserted + JOB[position + removed :]
    with contextlib.suppress(SpecError):
        assert isinstance(parse(text), CompressionJobSpec)


def test_every_key_has_a_type_and_a_meaning_in_the_reference() -> None:
    keys = list_keys()
    assert all(key.type and key.meaning for key in keys)
    paths = {(key.kind, key.path) for key in keys}
    assert len(paths) == len(keys)
    assert ("CompressionJob", "spec.candidates[].quantize.weightBits") in paths
    assert ("RecompressionPolicy", "spec.triggers.accuracy.floor") in paths
    table = render_markdown()
    assert "| `spec.rollout.alpha` | number | `0.05` |" in table
    assert "| `spec.modelName` | text | required |" in table


def test_a_job_may_search_instead_of_naming_candidates_and_reads_back_as_it_was_written() -> None:
    spec = parse_job(SEARCH)
    assert spec.candidates == ()
    assert spec.search is not None
    assert spec.search.space.macs_fractions == (1.0, 0.5)
    assert spec.targets[0].accuracy_drop == 0.02
    assert parse_job(dump(spec)) == spec
    assert parse_job(dump(spec, complete=True)) == spec


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            "search: {trials: 12, budget: 600, space: {weightBits: [8, 4], macsFractions: [1, 0.5]}}",
            "",
            "at least one candidate",
        ),
        ("[8, 4]", "[8, 8]", "given twice"),
        ("[8, 4]", "[8, 5]", "one of 8, 6, 4, 3, 2"),
        ("[1, 0.5]", "[1, 1.5]", "at most 1"),
        ("trials: 12", "trials: 0", "at least 1"),
        ("accuracyDrop: 0.02", "accuracyDrop: 2", "at most 1"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused_with_what_would(before: str, after: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        parse_job(SEARCH.replace(before, after))
