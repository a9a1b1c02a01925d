"""Paired shadow probation: two versions answer the same requests, and the application gets the old one's answer.

The order alternates, so that neither always finds warm caches. Pair counts are for the control plane, which judges
whether the new version passes. The guards here are fixed and coarse, and hold without any network: they only revert.
"""

from __future__ import annotations

import logging

from edge_agent.errors import InputError
from edge_agent.life import ProbationTerms
from edge_agent.predictor import Prediction, Predictor
from edge_agent.sketch import LatencySketch
from protos import fleet_pb2 as pb

logger = logging.getLogger(__name__)


class PairedProbation:
    """Totals of one probation; `counts` takes up those of a process before.

    latency_limit_ms is the device's own; the stricter of it and the assignment's holds.
    """

    def __init__(
        self,
        old: Predictor,
        new: Predictor,
        terms: ProbationTerms,
        *,
        latency_limit_ms: float = 0.0,
        counts: bytes = b"",
    ) -> None:
        self.old = old
        self.new = new
        self._terms = terms
        self._ceilings_ms = [limit for limit in (terms.max_latency_p95_ms, latency_limit_ms) if limit > 0]
        self._counts = pb.PairCounts.FromString(counts)
        self._old_latency_us = LatencySketch.from_proto(self._counts.old_engine_latency_us)
        self._new_latency_us = LatencySketch.from_proto(self._counts.new_engine_latency_us)
        self._new_goes_first = False
        self._was_logged = False

    @property
    def answered(self) -> int:
        """Requests so far, those included that the new version failed."""
        return int(self._counts.pairs + self._counts.new_errors)

    def predict(self, x: bytes | memoryview, *, raw: bool) -> tuple[Prediction, Prediction | None]:
        """The old version's answer, and the new one's where it gave any; raises InputError where both refuse."""
        self._new_goes_first = not self._new_goes_first
        new = self._try_new(x, raw=raw) if self._new_goes_first else None
        old = self.old.predict(x, raw=raw)
        if not self._new_goes_first:
            new = self._try_new(x, raw=raw)
        if new is None:
            self._counts.new_errors += 1
            return old, None
        self._count(old, new)
        return old, new

    def label(self, *, old_correct: bool, new_correct: bool) -> None:
        """Count the label of a pair."""
        if old_correct:
            self._counts.both_correct += new_correct
            self._counts.only_old_correct += not new_correct
        else:
            self._counts.only_new_correct += new_correct
            self._counts.both_wrong += not new_correct

    def tripped_guard(self) -> str | None:
        """Why the device itself must revert, if it must."""
        answered = self.answered
        if answered < max(1, self._terms.guard_min_requests):
            return None
        if self._counts.new_errors > self._terms.max_error_rate * answered:
            return (
                f"{self._counts.new_errors} of {answered} requests failed, more than {self._terms.max_error_rate:.1%}"
            )
        p95_us = self._new_latency_us.quantile(0.95)
        if p95_us is not None and any(p95_us > ceiling * 1000 for ceiling in self._ceilings_ms):
            return f"engine time p95 of {p95_us / 1000:.2f} ms is above the ceiling of {min(self._ceilings_ms):.2f} ms"
        return None

    def to_bytes(self) -> bytes:
        """The totals so far as a serialised PairCounts."""
        self._counts.old_engine_latency_us.CopyFrom(self._old_latency_us.to_proto())
        self._counts.new_engine_latency_us.CopyFrom(self._new_latency_us.to_proto())
        data: bytes = self._counts.SerializeToString(deterministic=True)
        return data

    def _try_new(self, x: bytes | memoryview, *, raw: bool) -> Prediction | None:
        """No failure of the new version may reach the application."""
        try:
            return self.new.predict(x, raw=raw)
        except InputError:
            return None
        except Exception:
            if not self._was_logged:
                logger.exception("model %s on probation failed", self.new.model.digest[:12])
            self._was_logged = True
            return None

    def _count(self, old: Prediction, new: Prediction) -> None:
        self._counts.pairs += 1
        self._counts.agreements += old.predicted == new.predicted
        self._counts.slower += self._terms.slower_ratio > 0 and (
            new.engine_us > old.engine_us * self._terms.slower_ratio
        )
        self._old_latency_us.add(old.engine_us)
        self._new_latency_us.add(new.engine_us)
