"""Row 12: the search against the whole of a space that can be enumerated.

The space: bits of each of three groups of layers, times shares of channels (pruned and trained back once for each).
Every one of its configurations is made and answered by the engine on the choose split, once; from then on a search
is a matter of looking answers up, so that ours, random search and NSGA-II get the same evaluations under many seeds.

Ours begins like a job: the latency of each share and the sensitivity of each layer to its bits, which cost neither an
evaluation nor a label, then dynamic programming, then the sampler. It is the same each time; the others are not.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from compression_peers.bench import Bench, Subject
from compression_peers.results import Figure, Results
from compression_peers.row import OURS, Check, Row, above, at_least
from compression_peers.samplers import RandomSampler, nsga2, tpe
from orchestrator.compression.artifact import Artifact
from orchestrator.compression.capture import FloatGraph, capture
from orchestrator.compression.data import images_to_tensor
from orchestrator.compression.evaluation import evaluate
from orchestrator.compression.pipeline import build
from orchestrator.compression.prune import prune_channels
from orchestrator.compression.quantize import quantize
from orchestrator.compression.quantize.sensitivity import LayerSensitivity, measure_sensitivity
from orchestrator.compression.recipe import Recipe
from orchestrator.compression.training.distillation import distill
from orchestrator.compression.training.learning import Learning
from orchestrator.search.additive import AdditiveSampler
from orchestrator.search.pareto import Costs, hypervolume, worst_of
from orchestrator.search.seeds import Part, seeds
from orchestrator.search.space import Axis, Configuration, Space
from orchestrator.search.study import Sampler, Study, Trial
from orchestrator.search.timing import time_operators

EVALUATIONS = 60
SEARCH_SEEDS = 10
SEEDED = 24  # of the evaluations; the rest is the sampler's
BITS = (8, 6, 4, 3)
SHARES = (1.0, 0.75, 0.5, 0.35)
GROUPS = ("early layers", "middle layers", "late layers")
CHANNELS = "share of MACs"
SPACE = Space((*(Axis(group, BITS) for group in GROUPS), Axis(CHANNELS, SHARES)))
CALIBRATION, CHOOSE, TRAIN = 64, 1_000, 12_000

Searcher = Callable[[int], tuple[Sampler, Sequence[Configuration]]]


@dataclass(frozen=True, eq=False)
class Narrowed:
    """One share of channels: the network, what its layers bear, and its median time, which bits do not change."""

    graph: FloatGraph
    layers: tuple[LayerSensitivity, ...]
    p50_us: float

    def groups(self) -> list[tuple[LayerSensitivity, ...]]:
        """Layers in order, divided so that the groups have about as many each."""
        count, many = len(GROUPS), len(self.layers)
        return [self.layers[many * g // count : many * (g + 1) // count] for g in range(count)]

    def recipe(self, configuration: Configuration) -> Recipe:
        bits = SPACE.values(configuration)
        chosen = [
            (layer.operator, bits[name]) for name, group in zip(GROUPS, self.groups(), strict=True) for layer in group
        ]
        return Recipe(calibration_count=CALIBRATION, layer_bits=tuple(chosen))

    def part(self, share: int) -> Part:
        """What the tables predict: divergence, time, bytes."""
        options = {
            name: [
                (sum(layer.divergence[b] for layer in group), 0.0, float(sum(layer.packed_bytes(b) for layer in group)))
                for b in BITS
            ]
            for name, group in zip(GROUPS, self.groups(), strict=True)
        }
        return Part(fixed={CHANNELS: share}, base=(0.0, self.p50_us, 0.0), options=options)


def run(bench: Bench) -> Iterator[Figure]:
    networks = [network for network in ROW.networks if network in bench.networks]
    for figures in bench.side_by_side(_of, networks):
        yield from figures


def _of(bench: Bench, network: str) -> list[Figure]:
    subject = bench.subject(network, bench.seeds[0])
    networks = [_narrowed(subject, share) for share in SHARES]
    answers = _enumerate(subject, networks)
    reference = worst_of(answers.values())
    whole = hypervolume(answers.values(), reference)
    figures = [Figure(row=12, label=f"{network}: configurations", value=len(answers))]
    for title, searcher in _searchers(networks, answers).items():
        studies = [_searched(searcher, seed, answers) for seed in range(SEARCH_SEEDS)]
        shares = [100 * study.hypervolume(reference) / whole for study in studies]
        figures.append(Figure(row=12, label=f"{network}: {title}", value=statistics.mean(shares), unit="%"))
        figures.append(Figure(row=12, label=f"{network}: {title}, least", value=min(shares), unit="%"))
    return figures


def judge(results: Results, networks: Sequence[str]) -> list[Check]:
    checks = []
    for network in networks:
        least = results.figure(12, f"{network}: {OURS}, least")
        checks.append(at_least(f"{network}: % of the hypervolume, least of {SEARCH_SEEDS} searches", least, 95))
        for other in ("random", "NSGA-II"):
            mean = results.figure(12, f"{network}: {OURS}")
            checks.append(
                above(f"{network}: % of the hypervolume, mean", mean, results.figure(12, f"{network}: {other}"), other)
            )
    return checks


def _searchers(networks: Sequence[Narrowed], answers: dict[Configuration, Costs]) -> dict[str, Searcher]:
    """What each begins with. `answers` are those of the anchors only: each share at the most bits, evaluated anyway."""
    objectives = 3
    anchors = [(0, 0, 0, share) for share in range(len(SHARES))]
    parts = []
    for share, narrowed in enumerate(networks):
        part = narrowed.part(share)
        loss, _, size = answers[anchors[share]]
        tensors = size - sum(options[0][2] for options in part.options.values())
        parts.append(replace(part, base=(loss, narrowed.p50_us, max(tensors, 0.0))))
    begin = [*anchors, *(found for found in seeds(SPACE, parts, SEEDED) if found not in anchors)][:SEEDED]
    return {
        OURS: lambda seed: (AdditiveSampler(SPACE, seed=seed), begin),
        "TPE from the same start": lambda seed: (tpe(SPACE, objectives=objectives, seed=seed), begin),
        "random": lambda seed: (RandomSampler(SPACE, seed=seed), ()),
        "NSGA-II": lambda seed: (nsga2(SPACE, objectives=objectives, seed=seed), ()),
    }


def _searched(searcher: Searcher, seed: int, answers: dict[Configuration, Costs]) -> Study:
    sampler, begin = searcher(seed)
    study = Study(SPACE, sampler, trials=EVALUATIONS, seeds=begin, seed=seed)
    while not study.is_over:
        for configuration in study.ask():
            study.tell(Trial(configuration=configuration, costs=answers[configuration]))
    return study


def _enumerate(subject: Subject, networks: Sequence[Narrowed]) -> dict[Configuration, Costs]:
    """Accuracy lost on the choose split by the engine, median time, bytes: of every configuration."""
    choose = subject.data.splits.choose.take(slice(0, CHOOSE))
    answers: dict[Configuration, Costs] = {}
    for configuration in SPACE.all():
        if len(answers) % 8 == 0:
            subject.say(f"row 12, {len(answers)} of {SPACE.size} configurations")
        narrowed = networks[configuration[-1]]
        artifact = _made(subject, narrowed, narrowed.recipe(configuration))
        accuracy = evaluate(artifact, choose).accuracy
        answers[configuration] = (1.0 - accuracy, narrowed.p50_us, float(artifact.size_bytes))
    return answers


def _narrowed(subject: Subject, share: float) -> Narrowed:
    subject.say(f"row 12, {share:.0%} of the MACs: network and tables")
    splits, preprocessing = subject.data.splits, subject.data.preprocessing
    model = subject.model
    if share < 1.0:
        model = prune_channels(model, splits.train, preprocessing=preprocessing, macs_fraction=share, seed=subject.seed)
        some = splits.train.take(slice(0, TRAIN))
        distill(
            model,
            subject.model,
            some,
            Learning(epochs=1, learning_rate=0.02, alpha=0.9, seed=subject.seed),
            preprocessing=preprocessing,
        )
    height, width, channels = splits.calibrate.sample_shape
    graph = capture(model.eval(), (channels, height, width))
    samples = images_to_tensor(splits.calibrate.inputs[:CALIBRATION], preprocessing)
    layers = measure_sensitivity(graph, samples, Recipe(calibration_count=CALIBRATION), bits=BITS)
    engine = _made(subject, Narrowed(graph, layers, 0.0), Recipe(calibration_count=CALIBRATION)).load()
    inputs = [image.tobytes() for image in subject.data.test.inputs[:8]]
    return Narrowed(graph, layers, time_operators(engine, inputs, runs=100).whole_us)


def _made(subject: Subject, narrowed: Narrowed, recipe: Recipe) -> Artifact:
    """As `pipeline.compress`, without capturing the same network again for each of its recipes."""
    splits, preprocessing = subject.data.splits, subject.data.preprocessing
    samples = images_to_tensor(splits.calibrate.inputs[: recipe.calibration_count], preprocessing)
    quantized = quantize(copy.deepcopy(narrowed.graph), samples, recipe)
    return build(quantized, splits.calibrate, name=subject.network, preprocessing=preprocessing, labels=splits.labels)


ROW = Row(
    number=12,
    title="search",
    target=(
        "at least 95 % of the exhaustive front's hypervolume on up to 500 configurations in at most 60 evaluations, "
        "better than random and NSGA-II"
    ),
    run=run,
    judge=judge,
)
