"""What a row is given: the trained networks of this run, the data, and ways to have a result judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from torch import nn

from compression_peers import side_by_side, teachers
from compression_peers.exchange import Peer, threads
from compression_peers.results import FP32, FP32_ROW, Outcome
from compression_peers.teachers import Data, Say
from orchestrator.compression.artifact import Artifact
from orchestrator.compression.certificate import PairedComparison
from orchestrator.compression.evaluation import evaluate, predict_logits
from orchestrator.compression.examination import Examination
from orchestrator.compression.pipeline import compress
from orchestrator.compression.recipe import Recipe

LATENCY_RUNS = 300
Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class Published:
    """A model that this run made, its answers to the certify split (bool [samples]) and what its certificate says."""

    title: str
    artifact: Artifact
    correct: npt.NDArray[np.bool_]
    certificate: PairedComparison


@dataclass(eq=False)
class Bench:
    """One run. `networks` and `seeds` are those it judges; `peers` those it compares W8A8 with."""

    quick: bool
    networks: tuple[str, ...]
    seeds: tuple[int, ...]
    peers: tuple[Peer, ...]
    data: Data
    say: Say
    published: list[Published] = field(default_factory=list)
    _kept: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def open(
        cls, say: Say, *, quick: bool, networks: tuple[str, ...], seeds: tuple[int, ...], peers: tuple[Peer, ...]
    ) -> Bench:
        return cls(quick=quick, networks=networks, seeds=seeds, peers=peers, data=teachers.load_data(), say=say)

    def train_missing(self) -> None:
        """The networks of this run that no earlier run has trained."""
        missing = [
            (network, seed)
            for network in reversed(self.networks)  # the slowest first, so that no core waits long for the last
            for seed in self.seeds
            if not teachers.is_kept(network, seed, self.training_of(network), self.data)
        ]
        if missing:
            list(self.side_by_side(_train, missing))

    def side_by_side(self, task: Callable[[Bench, Item], Found], items: Sequence[Item]) -> Generator[Found, None, None]:
        """`task(bench, item)` for each of `items` in processes of one thread, with benches like this one, in order.

        Args:
            task: a module's function; its time must not be what is judged.
        """
        make = partial(Bench.open, quick=self.quick, networks=self.networks, seeds=self.seeds, peers=self.peers)
        return side_by_side.each(make, task, items, processes=threads(), say=self.say)

    def training_of(self, network: str) -> teachers.Training:
        return (teachers.QUICK if self.quick else teachers.FULL)[network]

    def subjects(self, networks: Sequence[str], seeds: Sequence[int] | None = None) -> Iterator[Subject]:
        """Those of `networks` that this run judges, under each of its seeds."""
        for seed in self.seeds if seeds is None else seeds:
            for network in networks:
                if network in self.networks:
                    yield self.subject(network, seed)

    def subject(self, network: str, seed: int) -> Subject:
        return self.kept(("subject", network, seed), lambda: self._subject(network, seed))

    def kept(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` gives, made once per run."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def _subject(self, network: str, seed: int) -> Subject:
        model = teachers.ensure(network, seed, self.training_of(network), self.data, self.say)
        return Subject(network, seed, model, self)


def _train(bench: Bench, subject: tuple[str, int]) -> None:
    """Leaves the network where every other process finds it."""
    bench.subject(*subject)


@dataclass(frozen=True, eq=False)
class Subject:
    """One trained network under one seed; `model` is in evaluation mode and must be left as it is."""

    network: str
    seed: int
    model: nn.Module
    bench: Bench

    @property
    def data(self) -> Data:
        return self.bench.data

    @property
    def fp32_bytes(self) -> int:
        """Its parameters in float32."""
        return 4 * sum(parameter.numel() for parameter in self.model.parameters())

    def say(self, message: str) -> None:
        self.bench.say(f"{self.network}, seed {self.seed}: {message}")

    def fp32(self) -> Outcome:
        return self.bench.kept(
            ("fp32", self.network, self.seed),
            lambda: self.simulated(FP32_ROW, FP32, self.model, size_bytes=self.fp32_bytes),
        )

    def quantized(
        self,
        row: int,
        method: str,
        recipe: Recipe,
        model: nn.Module | None = None,
        *,
        before: Spent | None = None,
        publish: bool = True,
    ) -> Outcome:
        """By `recipe`, of `model` if it is not the subject's own; `before` is the time that went into it already."""
        network = self.model if model is None else model

        def make() -> Artifact:
            # A row judges what was lost; nothing is kept from it.
            return compress(
                network, self.data.splits, recipe, name=self.network, fp32=self.model, max_accuracy_drop=None
            )

        return self.judged(row, method, make, before=before, publish=publish)

    def judged(
        self,
        row: int,
        method: str,
        make: Callable[[], Artifact],
        *,
        before: Spent | None = None,
        publish: bool = True,
    ) -> Outcome:
        """Time `make`, answer all test images and the corrupted ones with the engine, time that on one image.

        Args:
            publish: whether row 14 looks at it; not if a peer made it.
        """
        self.say(f"row {row}, {method}")
        spent = Spent.after(before)
        with spent:
            artifact = make()
        correct, corrupted = self.data.marks(evaluate(artifact, self.data.everything).correct)
        if publish:
            title = f"row {row}, {self.network}, seed {self.seed}, {method}"
            self.bench.published.append(self._published(title, artifact, correct))
        return Outcome(
            row=row,
            network=self.network,
            seed=self.seed,
            method=method,
            correct=correct,
            corrupted=corrupted,
            size_bytes=artifact.size_bytes,
            seconds=spent.seconds,
            cpu_seconds=spent.cpu_seconds,
            latency_us=self._latency_us(artifact),
        )

    def simulated(
        self,
        row: int,
        method: str,
        model: nn.Module,
        *,
        size_bytes: int = 0,
        before: Spent | None = None,
        seed: int | None = None,
    ) -> Outcome:
        """A float network's answers; `seed` where it is not the subject's own."""
        spent = Spent.after(before)
        answers = predict_logits(model, self.data.everything.inputs, self.data.preprocessing).argmax(dim=1).numpy()
        correct, corrupted = self.data.marks(answers == self.data.everything.labels)
        return Outcome(
            row=row,
            network=self.network,
            seed=self.seed if seed is None else seed,
            method=method,
            correct=correct,
            corrupted=corrupted,
            size_bytes=size_bytes,
            seconds=spent.seconds,
            cpu_seconds=spent.cpu_seconds,
        )

    def _published(self, title: str, artifact: Artifact, correct: npt.NDArray[np.bool_]) -> Published:
        certificate = self.bench.kept(("examination", self.network, self.seed), self._examination).of(artifact).clean
        return Published(title, artifact, correct[: len(self.data.splits.certify)], certificate)

    def _examination(self) -> Examination:
        """As jobs make certificates, by the network that everything here is compared with."""
        return Examination(self.model, self.data.splits.certify, preprocessing=self.data.preprocessing)

    def _latency_us(self, artifact: Artifact) -> float:
        engine = artifact.load()
        times = []
        for image in self.data.test.inputs[:LATENCY_RUNS]:
            sample = image.tobytes()
            begun = time.perf_counter_ns()
            engine.infer_raw(sample)
            times.append(time.perf_counter_ns() - begun)
        return float(np.median(times)) / 1000


@dataclass(eq=False)
class Spent:
    """Time in its `with` blocks, added up."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @classmethod
    def after(cls, before: Spent | None) -> Spent:
        """Goes on from `before`, which stays as it is."""
        return cls(before.seconds, before.cpu_seconds) if before else cls()

    def __enter__(self) -> Spent:
        self._started = time.monotonic(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.monotonic() - self._started[0]
        self.cpu_seconds += time.process_time() - self._started[1]
