"""Which candidate each device class gets: the constraint decides, the objective breaks what is left.

A target names limits (accuracy floor and drop, p95 latency, bytes, RAM) and an objective. Among the candidates that
meet every limit and that no other beats in everything, the best by the objective is chosen. Where none meets them, the
answer is what came nearest and what blocks it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from orchestrator.records import Candidate, ClassModel, Refusal
from orchestrator.records.accuracy import is_below
from orchestrator.search.pareto import dominates, front_of
from orchestrator.spec import TargetSpec

NEAREST = 2
"""How many of the nearest points an infeasible target names."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One candidate as one device class sees it."""

    candidate: Candidate
    accuracy: float
    latency_p95_ms: float | None  # None: not measured on this class
    model_bytes: int
    ram_bytes: int
    on_control_plane: bool = False
    refusals: tuple[Refusal, ...] = ()

    @property
    def costs(self) -> tuple[float, ...]:
        """Smaller is better in each."""
        latency = float("inf") if self.latency_p95_ms is None else self.latency_p95_ms
        return (-self.accuracy, latency, float(self.model_bytes), float(self.ram_bytes))


@dataclass(frozen=True)
class Shortfall:
    """One limit that a point does not meet; `share` is by how much, of the limit."""

    words: str
    share: float


@dataclass(frozen=True, kw_only=True)
class ClassChoice:
    """What one target came to. Without a chosen candidate, `words` names the nearest points and what blocks them."""

    device_class: str
    chosen: Candidate | None
    front: tuple[str, ...]  # names on the Pareto front, best by the objective first
    verdicts: dict[str, str]  # by candidate
    words: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    classes: tuple[ClassChoice, ...]
    candidates: tuple[Candidate, ...]  # with `chosen_for` and `verdict` filled in
    refused: tuple[Candidate, ...] = ()  # could not be made, so there was nothing to choose; their verdicts say why

    @property
    def is_feasible(self) -> bool:
        """Some class got a model; the words say which did not."""
        return any(choice.chosen for choice in self.classes)

    @property
    def chosen(self) -> tuple[ClassModel, ...]:
        return tuple(
            ClassModel(device_class=choice.device_class, model_digest=choice.chosen.model_digest)
            for choice in self.classes
            if choice.chosen
        )

    @property
    def words(self) -> str:
        refused = (f"{candidate.name}: {candidate.verdict}" for candidate in self.refused)
        return "; ".join([*(choice.words for choice in self.classes), *refused])


def choose(
    candidates: Iterable[Candidate], targets: Iterable[TargetSpec], *, faster_than_us: dict[str, float] | None = None
) -> Choice:
    """Choose for every target.

    Args:
        faster_than_us: by device class, the p95 that a candidate must stay below: what runs there now and is too slow.
            Where given, latency is the objective.
    """
    pool = tuple(candidates)
    limits = faster_than_us or {}
    classes = tuple(_choose_for(pool, target, limits.get(target.device_class)) for target in targets)
    judged = []
    for candidate in pool:
        chosen_for = tuple(c.device_class for c in classes if c.chosen and c.chosen.name == candidate.name)
        verdict = "; ".join(f"{choice.device_class}: {choice.verdicts[candidate.name]}" for choice in classes)
        judged.append(replace(candidate, chosen_for=chosen_for, verdict=verdict))
    return Choice(classes=classes, candidates=tuple(judged))


def with_floors(targets: Iterable[TargetSpec], teacher_accuracy: float | None) -> tuple[TargetSpec, ...]:
    """The targets with what they say about a drop against the teacher turned into floors; the higher floor counts.

    Raises:
        ValueError: a drop is limited, and nobody knows how good the teacher is.
    """
    return tuple(_with_floor(target, teacher_accuracy) for target in targets)


def _with_floor(target: TargetSpec, teacher_accuracy: float | None) -> TargetSpec:
    if target.accuracy_drop is None:
        return target
    if teacher_accuracy is None:
        raise ValueError(f"{target.device_class}: a drop is limited, but the teacher was not judged")
    floor = max(target.accuracy_floor, teacher_accuracy - target.accuracy_drop)
    return replace(target, accuracy_floor=floor, accuracy_drop=None)


def point_for(candidate: Candidate, device_class: str) -> Point:
    """What is known about a candidate on a class; for "*", the worst that any class measured."""
    measured = [m for m in candidate.measurements if device_class in ("*", m.device_class)]
    # A device's own measurement counts over the control plane's stand-in for it.
    on_devices = [m for m in measured if not m.on_control_plane]
    counted = on_devices or measured
    return Point(
        candidate=candidate,
        accuracy=candidate.accuracy,
        latency_p95_ms=max((m.latency_p95_us for m in counted), default=0.0) / 1000.0 if counted else None,
        model_bytes=candidate.model_bytes,
        ram_bytes=max((m.peak_ram_bytes for m in counted), default=candidate.peak_ram_bytes),
        on_control_plane=bool(counted) and not on_devices,
        refusals=tuple(r for r in candidate.refusals if device_class in ("*", r.device_class)),
    )


def keeps_accuracy(candidate: Candidate, target: TargetSpec) -> bool:
    """Whether it is above the floor and not too far below the float network it is made of."""
    fp32 = candidate.fp32_accuracy
    floor = max(target.accuracy_floor, 0.0 if fp32 is None else fp32 - target.compression_drop)
    return not is_below(candidate.accuracy, floor)


def pareto_front(points: Iterable[Point]) -> list[Point]:
    """Points that no other beats: none is at least as good in everything and better in something."""
    return front_of(points, lambda point: point.costs)


def _choose_for(pool: tuple[Candidate, ...], target: TargetSpec, faster_than_us: float | None) -> ClassChoice:
    points = [point_for(candidate, target.device_class) for candidate in pool]
    blocked = {point.candidate.name: shortfalls(point, target, faster_than_us) for point in points}
    meeting = [point for point in points if not blocked[point.candidate.name]]
    objective = "latency" if faster_than_us is not None else target.objective
    front = sorted(pareto_front(meeting), key=lambda point: _rank(point, objective))
    best = front[0] if front else None
    verdicts = {}
    for point in points:
        name = point.candidate.name
        if blocked[name]:
            verdicts[name] = "; ".join(shortfall.words for shortfall in blocked[name])
        elif best is not None and point is best:
            verdicts[name] = f"chosen, best {objective} of {len(meeting)} that meet every limit"
        elif point not in front:
            verdicts[name] = f"beaten in everything by {_beater(point, meeting)}"
        else:
            verdicts[name] = f"meets every limit; {best.candidate.name if best else ''} has better {objective}"
    words = _chosen_words(target.device_class, best) if best else _infeasible_words(target, points, blocked)
    names = tuple(point.candidate.name for point in front)
    chosen = best.candidate if best else None
    return ClassChoice(device_class=target.device_class, chosen=chosen, front=names, verdicts=verdicts, words=words)


def shortfalls(point: Point, target: TargetSpec, faster_than_us: float | None = None) -> list[Shortfall]:
    """The limits of a target that a point does not meet."""
    found = [Shortfall(f"could not be measured on {r.device_class}: {r.error}", 1.0) for r in point.refusals]
    if is_below(point.accuracy, target.accuracy_floor):
        gap = target.accuracy_floor - point.accuracy
        words = f"accuracy {point.accuracy:.4f} is {gap:.4f} below the floor {target.accuracy_floor:.4f}"
        found.append(Shortfall(words, gap / target.accuracy_floor))
    fp32 = point.candidate.fp32_accuracy
    if fp32 is not None and is_below(point.accuracy, fp32 - target.compression_drop):
        drop, allowed = fp32 - point.accuracy, target.compression_drop
        words = (
            f"accuracy {point.accuracy:.4f} is {drop:.4f} below its float network's, compressionDrop is {allowed:.4f}"
        )
        found.append(Shortfall(words, (drop - allowed) / max(allowed, 0.01)))
    limits_ms = [target.latency_p95_ms, None if faster_than_us is None else faster_than_us / 1000.0]
    limit_ms = min((limit for limit in limits_ms if limit is not None), default=None)
    if limit_ms is not None:
        if point.latency_p95_ms is None:
            if not point.refusals:
                found.append(Shortfall("latency is not measured on this class", 1.0))
        elif point.latency_p95_ms > limit_ms or (faster_than_us == point.latency_p95_ms * 1000.0):
            over = point.latency_p95_ms - limit_ms
            words = f"p95 {point.latency_p95_ms:.3f} ms is {over:.3f} ms above {limit_ms:.3f} ms"
            found.append(Shortfall(words, over / limit_ms))
    for what, value, limit in (
        ("model", point.model_bytes, target.model_bytes),
        ("RAM", point.ram_bytes, target.ram_bytes),
    ):
        if limit is not None and value > limit:
            found.append(Shortfall(f"{what} {value} bytes is {value - limit} above {limit}", (value - limit) / limit))
    return found


def _rank(point: Point, objective: str) -> tuple[float | str, ...]:
    """Sorts by the objective, then by everything else, then by name, so that the choice never depends on order."""
    accuracy, latency, size, ram = point.costs
    first = {"accuracy": accuracy, "latency": latency, "bytes": size, "ram": ram}[objective]
    return (first, accuracy, latency, size, ram, point.candidate.name)


def _beater(point: Point, pool: list[Point]) -> str:
    return next(other.candidate.name for other in pool if dominates(other.costs, point.costs))


def _chosen_words(device_class: str, best: Point) -> str:
    latency = "not measured" if best.latency_p95_ms is None else f"p95 {best.latency_p95_ms:.3f} ms"
    where = " on the control plane's CPU" if best.on_control_plane else ""
    figures = f"accuracy {best.accuracy:.4f}, {latency}{where}, {best.model_bytes} bytes"
    return f"{device_class}: {best.candidate.name} ({figures})"


def _infeasible_words(target: TargetSpec, points: list[Point], blocked: dict[str, list[Shortfall]]) -> str:
    by_distance = sorted(points, key=lambda point: sum(s.share for s in blocked[point.candidate.name]))
    nearest = [
        f"{point.candidate.name}: {'; '.join(s.words for s in blocked[point.candidate.name])}"
        for point in by_distance[:NEAREST]
    ]
    return f"{target.device_class}: no candidate meets the limits; nearest: {' | '.join(nearest) or 'there are none'}"
