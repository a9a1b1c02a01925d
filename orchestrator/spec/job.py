"""`kind: CompressionJob`: what to train, how to compress it, what the devices allow, and how to roll it out.

Attributes are the YAML keys in snake case. Values read from a document are in range; build one in Python and `dump` it,
and the control plane checks it the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from orchestrator.spec.keys import DEVICE_CLASS, DIGEST, ENTRYPOINT, NAME, NETWORK, Key

_ENTRYPOINT = {"pattern": ENTRYPOINT, "pattern_words": '"module:callable"'}
_NETWORK = {"pattern": NETWORK, "pattern_words": '"module:callable", or an ONNX file in the working directory'}
_NAME = {"pattern": NAME, "pattern_words": "1 to 63 letters, digits, dots, dashes or underscores"}
_CLASS = {"pattern": DEVICE_CLASS, "pattern_words": 'the name of a device class, or "*" for all'}
_RATE = {"above": 0.0, "maximum": 10.0}
_EPOCHS = {"minimum": 0, "maximum": 10_000}
_BATCH = {"minimum": 1, "maximum": 65_536}


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    entrypoint: Annotated[str, Key("callable that returns the four disjoint splits", **_ENTRYPOINT)]
    args: Annotated[Mapping[str, Any], Key("keyword arguments of that callable: plain data")] = field(
        default_factory=dict
    )


@dataclass(frozen=True, kw_only=True)
class TeacherSpec:
    entrypoint: Annotated[
        str,
        Key(
            "callable that returns the teacher, a torch module; or an ONNX file, with `epochs: 0` to take it as it is",
            **_NETWORK,
        ),
    ]
    checkpoint: Annotated[
        str | None,
        Key("weights to use instead of training", pattern=DIGEST, pattern_words='"sha256:" and 64 hex digits'),
    ] = None
    epochs: Annotated[int, Key("passes over the train split", **_EPOCHS)] = 3
    workers: Annotated[int, Key("Ray Train workers", minimum=1, maximum=1024)] = 1
    batch_size: Annotated[int, Key("samples per step and worker", **_BATCH)] = 128
    learning_rate: Annotated[float, Key("peak of the schedule", **_RATE)] = 0.05


@dataclass(frozen=True, kw_only=True)
class StudentSpec:
    entrypoint: Annotated[str, Key("callable that returns the student, a torch module; or an ONNX file", **_NETWORK)]
    epochs: Annotated[int, Key("passes over the train split", **_EPOCHS)] = 3
    batch_size: Annotated[int, Key("samples per step", **_BATCH)] = 128
    learning_rate: Annotated[float, Key("peak of the schedule", **_RATE)] = 0.05
    temperature: Annotated[float, Key("T of the softened softmax", above=0.0, maximum=100.0)] = 4.0
    alpha: Annotated[
        float, Key("weight of the distillation loss; the rest is label loss", minimum=0.0, maximum=1.0)
    ] = 0.7
    objective: Annotated[
        Literal["kd", "decoupled", "function-matching"],
        Key(
            "how its answers are held against the teacher's; function-matching asks the teacher about new views of the "
            "images in every step and needs no labels"
        ),
    ] = "kd"
    mirror: Annotated[bool, Key("views may be mirrored; not where left and right mean something, as in digits")] = True


@dataclass(frozen=True, kw_only=True)
class PruneSpec:
    """Channels go, or blocks of weights, or first the one and then the other."""

    macs_fraction: Annotated[
        float | None, Key("multiply-accumulates to keep by removing channels, of those before", above=0.0, below=1.0)
    ] = None
    weights_fraction: Annotated[
        float | None, Key("weights to keep by removing channels, of those before", above=0.0, below=1.0)
    ] = None
    block_sparsity: Annotated[
        float | None, Key("share of the weights' blocks that become zero and are skipped", above=0.0, below=1.0)
    ] = None
    block_rows: Annotated[
        Literal[4, 8, 16] | None, Key("output channels of a block; without it, by the width of the layer")
    ] = None
    block_budget: Annotated[
        Literal["blocks", "macs", "latency"],
        Key("what `blockSparsity` is a share of; latency is each layer's time in the engine, measured on the worker"),
    ] = "blocks"
    importance: Annotated[
        Literal["labels", "answers"],
        Key("which channels matter: by the loss to the labels, or to the network's own answers without labels"),
    ] = "labels"
    epochs: Annotated[int, Key("passes of distillation after pruning", **_EPOCHS)] = 1
    batch_size: Annotated[int | None, Key("samples per step; without it the student's", **_BATCH)] = None
    learning_rate: Annotated[
        float | None, Key("peak of the schedule; without it the student's, and 0.02 after blocks", **_RATE)
    ] = None
    temperature: Annotated[
        float | None, Key("T of the softened softmax; without it the student's", above=0.0, maximum=100.0)
    ] = None
    alpha: Annotated[
        float | None,
        Key(
            "weight of the distillation loss, the rest is label loss; without it the student's, and with "
            "`importance: answers` 1: no labels are read, unless the objective is `decoupled`",
            minimum=0.0,
            maximum=1.0,
        ),
    ] = None
    objective: Annotated[
        Literal["kd", "decoupled", "function-matching"] | None,
        Key("how answers are held against the teacher's; without it the student's"),
    ] = None

    @property
    def removes_channels(self) -> bool:
        return self.macs_fraction is not None or self.weights_fraction is not None

    def problems(self) -> Iterator[tuple[str, str]]:
        if not self.removes_channels and self.block_sparsity is None:
            yield "macsFraction", "needs at least one of `macsFraction`, `weightsFraction` and `blockSparsity`"
        if self.block_rows is not None and self.block_sparsity is None:
            yield "blockRows", "goes with `blockSparsity`"
        if self.block_budget != "blocks" and self.block_sparsity is None:
            yield "blockBudget", "goes with `blockSparsity`"
        if self.importance != "labels" and not self.removes_channels:
            yield "importance", "goes with `macsFraction` or `weightsFraction`"


@dataclass(frozen=True, kw_only=True)
class QuantizedTrainingSpec:
    epochs: Annotated[int, Key("passes over the train split", minimum=1, maximum=10_000)] = 6
    batch_size: Annotated[int, Key("samples per step", minimum=2, maximum=65_536)] = 128
    learning_rate: Annotated[float, Key("peak of the schedule", **_RATE)] = 0.002
    temperature: Annotated[float, Key("T of the softened softmax", above=0.0, maximum=100.0)] = 4.0
    alpha: Annotated[
        float, Key("weight of the float network's answers; 1 needs no labels", minimum=0.0, maximum=1.0)
    ] = 0.9


@dataclass(frozen=True, kw_only=True)
class QuantizeSpec:
    scheme: Annotated[
        Literal["integer", "power-of-two"], Key("affine per channel, or scales that are powers of two")
    ] = "integer"
    weight_bits: Annotated[Literal[8, 6, 4, 3, 2], Key("bits of a weight")] = 8
    mean_bits: Annotated[
        float | None,
        Key(
            "mixed bits instead: each layer's by its sensitivity, this many per weight on average",
            minimum=2.0,
            maximum=8.0,
        ),
    ] = None
    weight_bytes: Annotated[int | None, Key("mixed bits by bytes: what all weights together may take", minimum=1)] = (
        None
    )
    layer_bits: Annotated[
        Mapping[str, Literal[8, 6, 4, 3, 2]],
        Key("bits of layers that differ from `weightBits`, by the operator's name: the path of its module"),
    ] = field(default_factory=dict)
    calibration_count: Annotated[
        int, Key("samples of the calibrate split that are looked at, from its start", minimum=1, maximum=1_000_000)
    ] = 512
    effort: Annotated[
        Literal["normal", "high"], Key("high learns the rounding of layers whose error stays large (AdaRound)")
    ] = "normal"
    training: Annotated[
        QuantizedTrainingSpec | None,
        Key("train with the rounding of devices (quantization-aware) under the float network before grids are fixed"),
    ] = None

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.mean_bits is not None and self.weight_bytes is not None:
            yield "weightBytes", "give meanBits or weightBytes, not both"
        if self.layer_bits and (self.mean_bits is not None or self.weight_bytes is not None):
            yield "layerBits", "goes without `meanBits` and `weightBytes`, which choose the bits of each layer"


@dataclass(frozen=True, kw_only=True)
class CascadeSpec:
    most_drop: Annotated[
        float, Key("accuracy that may be lost against the network alone, absolute", minimum=0.0, maximum=1.0)
    ] = 0.003
    least_answered: Annotated[
        float, Key("share of samples that rules must answer themselves", minimum=0.0, maximum=1.0)
    ] = 0.5
    confidence: Annotated[float, Key("of the bound on that loss", minimum=0.5, below=1.0)] = 0.95


@dataclass(frozen=True, kw_only=True)
class RulesSpec:
    rules: Annotated[int, Key("rules of all trees together", minimum=2, maximum=2048)] = 32
    trees: Annotated[
        int, Key("1: one rule answers; more: trees that add up, closer to the network", minimum=1, maximum=256)
    ] = 8
    depth: Annotated[int, Key("conditions of a rule", minimum=1, maximum=64)] = 3
    features: Annotated[str, Key('"input", or the operator of the network whose output rules read')] = "input"
    pool: Annotated[int, Key("average that map to so many rows and columns; 0: as it is", minimum=0, maximum=256)] = 0
    fidelity_floor: Annotated[
        float, Key("share of held-out samples on which rules alone answer as the network", minimum=0.0, maximum=1.0)
    ] = 0.95
    cascade: Annotated[
        CascadeSpec | None, Key("rules answer what they are sure of, the network the rest; without it rules alone")
    ] = None


@dataclass(frozen=True, kw_only=True)
class CandidateSpec:
    name: Annotated[str, Key("unique in the job", **_NAME)]
    prune: Annotated[PruneSpec | None, Key("what is pruned before quantization")] = None
    quantize: Annotated[QuantizeSpec, Key("how weights and activations become integers")] = QuantizeSpec()
    rules: Annotated[RulesSpec | None, Key("rules in place of the network, or in front of it")] = None


@dataclass(frozen=True, kw_only=True)
class SpaceSpec:
    """What a search may choose from; every combination is one configuration."""

    schemes: Annotated[
        tuple[Literal["integer", "power-of-two"], ...], Key("schemes of quantization", min_items=1, max_items=2)
    ] = ("integer", "power-of-two")
    weight_bits: Annotated[tuple[Literal[8, 6, 4, 3, 2], ...], Key("bits of a weight", min_items=1, max_items=5)] = (
        8,
        6,
        4,
        3,
    )
    mean_bits: Annotated[
        tuple[Annotated[float, Key("bits per weight on average", minimum=2.0, maximum=8.0)], ...],
        Key("mixed bits, each layer's by its sensitivity, beside the same bits for all", max_items=8),
    ] = (5.0, 3.5)
    trained_bits: Annotated[
        tuple[Literal[8, 6, 4, 3, 2], ...],
        Key("bits of a weight after quantization-aware training, beside those without", max_items=5),
    ] = ()
    training: Annotated[QuantizedTrainingSpec, Key("how those are trained")] = QuantizedTrainingSpec()
    macs_fractions: Annotated[
        tuple[Annotated[float, Key("multiply-accumulates to keep; 1 for no pruning", above=0.0, maximum=1.0)], ...],
        Key("shares of multiply-accumulates to keep by channel pruning", min_items=1, max_items=16),
    ] = (1.0, 0.75, 0.5, 0.35, 0.25)
    block_sparsities: Annotated[
        tuple[Annotated[float, Key("blocks that become zero; 0 for none", minimum=0.0, below=1.0)], ...],
        Key("shares of the weights' blocks that become zero and are skipped", min_items=1, max_items=8),
    ] = (0.0,)
    epochs: Annotated[int, Key("passes of distillation after pruning", **_EPOCHS)] = 1

    def problems(self) -> Iterator[tuple[str, str]]:
        for key, choices in (
            ("schemes", self.schemes),
            ("weightBits", self.weight_bits),
            ("meanBits", self.mean_bits),
            ("trainedBits", self.trained_bits),
            ("macsFractions", self.macs_fractions),
            ("blockSparsities", self.block_sparsities),
        ):
            if len(set(choices)) != len(choices):
                yield key, "a choice is given twice"


@dataclass(frozen=True, kw_only=True)
class SearchSpec:
    trials: Annotated[int, Key("configurations to make and judge at most", minimum=1, maximum=500)] = 40
    budget: Annotated[float, Key("seconds that the trials may take in all", above=0.0, maximum=1e6)] = 3600.0
    patience: Annotated[int, Key("trials in a row without gain that end it; 0 for never", minimum=0, maximum=500)] = 12
    confirm: Annotated[int, Key("points of the front to measure on devices", minimum=1, maximum=32)] = 8
    space: Annotated[SpaceSpec, Key("what there is to choose from")] = SpaceSpec()


@dataclass(frozen=True, kw_only=True)
class BenchmarkSpec:
    warmup: Annotated[int, Key("inferences before timing starts", minimum=0, maximum=100_000)] = 20
    runs: Annotated[int, Key("timed inferences", minimum=1, maximum=1_000_000)] = 200
    devices: Annotated[int, Key("devices of each class to ask", minimum=1, maximum=100)] = 1


@dataclass(frozen=True, kw_only=True)
class TargetSpec:
    device_class: Annotated[str, Key("the class this target is for", **_CLASS)]
    accuracy_floor: Annotated[float, Key("lowest accuracy on the choose split", minimum=0.0, maximum=1.0)] = 0.0
    accuracy_drop: Annotated[
        float | None, Key("most accuracy lost against the teacher, on the choose split", minimum=0.0, maximum=1.0)
    ] = None
    compression_drop: Annotated[
        float,
        Key("most accuracy lost against the float network that was compressed, likewise", minimum=0.0, maximum=1.0),
    ] = 0.015
    latency_p95_ms: Annotated[float | None, Key("highest p95 of engine time on the class", above=0.0)] = None
    model_bytes: Annotated[int | None, Key("most bytes of the model and its tensors", minimum=1)] = None
    ram_bytes: Annotated[int | None, Key("most bytes of RAM while it runs", minimum=1)] = None
    objective: Annotated[
        Literal["accuracy", "latency", "bytes", "ram"], Key("what decides among candidates that meet every limit")
    ] = "accuracy"


@dataclass(frozen=True, kw_only=True)
class RolloutSpec:
    auto: Annotated[bool, Key("start the rollout when the job has chosen")] = True
    alpha: Annotated[float, Key("chance that a gate errs, however often it looks", minimum=1e-6, maximum=0.5)] = 0.05
    non_inferiority_margin: Annotated[
        float, Key("accuracy a device may lose at most, absolute", above=0.0, maximum=0.5)
    ] = 0.05
    probation_timeout_s: Annotated[
        float, Key("without a verdict by then the device reverts", minimum=1.0, maximum=604_800.0)
    ] = 120.0
    slower_ratio: Annotated[
        float, Key("a pair counts as slower where new > old times this", minimum=1.0, maximum=1000.0)
    ] = 2.0
    max_slower_fraction: Annotated[float, Key("share of slower pairs that fails a model", above=0.0, below=1.0)] = 0.5
    max_error_rate: Annotated[float, Key("share of errors that the device reverts at", above=0.0, maximum=1.0)] = 0.05
    max_latency_p95_ms: Annotated[
        float, Key("p95 of engine time that the device reverts at; 0 for none", minimum=0.0)
    ] = 0.0
    min_pairs: Annotated[int, Key("pairs before any verdict", minimum=1, maximum=1_000_000)] = 50


@dataclass(frozen=True, kw_only=True)
class CompressionJobSpec:
    name: Annotated[str, Key("metadata.name", hidden=True, **_NAME)]
    model_name: Annotated[str, Key("name that applications ask for; stable across versions", **_NAME)]
    seed: Annotated[int, Key("of everything random in the job", minimum=0, maximum=2**63 - 1)] = 0
    data: Annotated[DataSpec, Key("where samples come from")]
    teacher: Annotated[TeacherSpec, Key("the large model that is compressed")]
    student: Annotated[
        StudentSpec | None,
        Key("the smaller network it is distilled into; without one the teacher itself is compressed"),
    ] = None
    candidates: Annotated[tuple[CandidateSpec, ...], Key("models that compete, named one by one", max_items=16)] = ()
    search: Annotated[
        SearchSpec | None, Key("look for models that compete; beside `candidates`, or instead of them")
    ] = None
    benchmark: Annotated[BenchmarkSpec, Key("how candidates are timed on devices")] = BenchmarkSpec()
    targets: Annotated[tuple[TargetSpec, ...], Key("what each device class allows", min_items=1, max_items=64)]
    rollout: Annotated[RolloutSpec, Key("how the chosen models reach devices")] = RolloutSpec()

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is wrong between keys that are each right: (key, message)."""
        if not self.candidates and self.search is None:
            yield "candidates", "without a `search`, at least one candidate is needed"
        for name in _repeated(candidate.name for candidate in self.candidates):
            yield "candidates", f"two candidates are called {name!r}"
        for name in _repeated(target.device_class for target in self.targets):
            yield "targets", f"two targets are for device class {name!r}"


def _repeated(names: Iterator[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]
