"""Latency tables of device classes: made of what agents measured of a few models, asked about all the others. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.records import Measurement
from orchestrator.search.latency import LatencyTable, MissingEntryError, OperatorTimes

Signatures = tuple[str, ...]


@dataclass(frozen=True)
class ClassTable:
    """`tail`: how much longer than the median the p95 is on this class."""

    table: LatencyTable
    tail: float
    on_control_plane: bool

    def predict(self, device_class: str, signatures: Signatures, ram_bytes: int) -> Measurement:
        p50_us = self.table.predict_us(signatures)
        return Measurement(
            device_class=device_class,
            engine_path="",
            latency_p50_us=p50_us,
            latency_p95_us=p50_us * self.tail,
            runs=0,  # which is how a prediction is told from a measurement
            peak_ram_bytes=ram_bytes,
            on_control_plane=self.on_control_plane,
        )


@dataclass(frozen=True)
class ClassTables:
    by_class: Mapping[str, ClassTable]

    @classmethod
    def of(cls, measured: Iterable[tuple[Signatures, Sequence[Measurement]]]) -> ClassTables:
        """From models with their operators' signatures; what says nothing about operators is left out."""
        found: dict[str, list[tuple[Signatures, Measurement]]] = {}
        for signatures, measurements in measured:
            for measurement in measurements:
                if len(measurement.operator_p50_us) == len(signatures):
                    found.setdefault(measurement.device_class, []).append((signatures, measurement))
        return cls({device_class: _table(entries) for device_class, entries in found.items()})

    def predict(self, signatures: Signatures, ram_bytes: int) -> tuple[Measurement, ...]:
        """Of every class whose table knows such operators."""
        predicted = []
        for device_class, table in self.by_class.items():
            try:
                predicted.append(table.predict(device_class, signatures, ram_bytes))
            except MissingEntryError:
                continue
        return tuple(predicted)


def _table(entries: Sequence[tuple[Signatures, Measurement]]) -> ClassTable:
    times = [OperatorTimes(signatures, m.operator_p50_us, m.latency_p50_us) for signatures, m in entries]
    tails = [m.latency_p95_us / m.latency_p50_us for _, m in entries if m.latency_p50_us > 0]
    return ClassTable(
        LatencyTable.of(times), statistics.median(tails or [1.0]), all(m.on_control_plane for _, m in entries)
    )
