"""Labelled inputs on their way back for training: kept only with consent, within quota and disk share."""

from __future__ import annotations

from pathlib import Path

from edge_agent.config import SamplesConfig
from edge_agent.errors import DiskFullError
from edge_agent.feedback import PendingLabel
from edge_agent.spool import Gap, Spool
from protos import fleet_pb2 as pb

BATCH_SAMPLES = 64
BATCH_BYTES = 512 << 10
SAMPLE_LIMIT_BYTES = 256 << 10
"""The control plane takes no larger one."""


class SampleKeeper:
    def __init__(self, directory: Path, config: SamplesConfig) -> None:
        self._spool: Spool | None = None
        self._quota = 0
        if config.consent:
            self._spool = Spool(directory, max_bytes=config.spool_bytes)
        else:
            _remove(directory)  # consent withdrawn: what has not left does not leave

    @property
    def is_collecting(self) -> bool:
        return self._spool is not None and self._spool.pending < self._quota

    @property
    def pending(self) -> int:
        return self._spool.pending if self._spool else 0

    def set_quota(self, *, wanted: bool, remaining: int) -> None:
        """What the control plane will still take, samples that wait here included."""
        self._quota = remaining if wanted else 0

    def keep(self, pending: PendingLabel, label: int) -> bool:
        """Keep the input with its label, if that is allowed and there is room; says whether it was."""
        if self._spool is None or not self.is_collecting or pending.input is None:
            return False
        sample = pb.Sample(
            model_sha256=bytes.fromhex(pending.digest),
            observed_at_ms=pending.answered_at_ms,
            label=label,
            predicted=pending.predicted,
        )
        if pending.raw:
            sample.raw = pending.input
        else:
            sample.float32 = pending.input
        payload = sample.SerializeToString()
        if len(payload) > SAMPLE_LIMIT_BYTES or not self._spool.has_room(len(payload)):
            return False
        try:
            self._spool.append(payload)
        except DiskFullError:
            return False
        return True

    def batch(self) -> pb.PushSamplesRequest | None:
        """The oldest samples that have not been acknowledged; None where there are none."""
        if self._spool is None or not self._spool.pending:
            return None
        request = pb.PushSamplesRequest(spool_id=self._spool.spool_id)
        for item in self._spool.read(max_records=BATCH_SAMPLES, max_bytes=BATCH_BYTES):
            if isinstance(item, Gap):  # a sample is not counted, so one that was lost is nobody's business
                if not request.samples:
                    self._spool.acknowledge(item.last_seq + 1)
                continue
            sample = pb.Sample.FromString(item.payload)
            sample.seq = item.seq
            request.samples.append(sample)
        return request if request.samples else None

    def acknowledge(self, response: pb.PushSamplesResponse) -> None:
        if self._spool is not None:
            self._spool.acknowledge(min(max(response.next_seq, self._spool.cursor), self._spool.next_seq))
            self._quota = response.quota_remaining + self._spool.pending

    def drop(self, request: pb.PushSamplesRequest) -> None:
        """Forget a batch that will never be taken."""
        if self._spool is not None and request.samples:
            self._spool.acknowledge(request.samples[-1].seq + 1)

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()


def _remove(directory: Path) -> None:
    if directory.exists():
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
