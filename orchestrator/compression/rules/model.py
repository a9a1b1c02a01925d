"""A forest as a whole model: raw float features in, scores out, golden vectors made and checked."""

from __future__ import annotations

import hashlib

import numpy as np

from edge_agent.runtime import check_golden, make_golden
from orchestrator.compression.artifact import Artifact
from orchestrator.compression.lower.model import FORMAT_VERSION, serialise
from orchestrator.compression.lower.tensors import TensorTable
from orchestrator.compression.rules.forest import Forest, Int8
from orchestrator.compression.rules.table import add_rule_table, scores_activation, to_integers
from orchestrator.datasets.feature_grid import FeatureGrid
from protos import model_pb2 as pb

_GOLDEN_CASES = 4


def build_rules_model(forest: Forest, x_NF: Int8, grid: FeatureGrid, *, labels: tuple[str, ...], name: str) -> Artifact:
    """The model with golden vectors (a few of the samples among them), checked on this machine's engine."""
    bare = bare_model(forest, x_NF, grid, labels=labels, name=name)
    rng = np.random.default_rng(0)
    random = rng.integers(-128, 128, (_GOLDEN_CASES, x_NF.shape[1])).astype(np.int8)
    rows = [*grid.dequantize(np.vstack([x_NF[:_GOLDEN_CASES], random]))]
    rows += [np.full(x_NF.shape[1], end, np.float32) for end in (np.inf, -np.inf)]
    golden = make_golden(bare.load(path="reference"), float32=[row.astype("<f4").tobytes() for row in rows])
    model = pb.Model.FromString(bare.model)
    model.golden.sha256, model.golden.size_bytes = hashlib.sha256(golden).digest(), len(golden)
    artifact = Artifact(serialise(model), {**bare.blobs, model.golden.sha256: golden})
    check_golden(artifact.load(), golden)
    return artifact


def bare_model(forest: Forest, x_NF: Int8, grid: FeatureGrid, *, labels: tuple[str, ...], name: str) -> Artifact:
    table = TensorTable()
    model = pb.Model(format_version=FORMAT_VERSION, name=name)
    affine = table.add("input.channel_affine", np.stack([grid.offset, grid.multiplier]))
    model.activations.add(name="features", dtype=pb.INT8, shape=[x_NF.shape[1]], scale=1.0)
    model.input.CopyFrom(pb.Input(activation=0, multiplier=1.0, channel_affine=affine))
    integers = to_integers(forest, x_NF)
    output = scores_activation(integers, name="scores")
    answer = add_rule_table(model, table, integers, source=0, output=output, name="rules")
    model.output.CopyFrom(pb.Output(activation=answer, labels=labels))
    model.tensors.extend(table.tensors)
    return Artifact(serialise(model), table.blobs)
