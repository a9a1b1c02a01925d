"""The certify split under seal: it is opened for a published model, once, and for nothing else.

A figure on data that was looked at often is a figure that was tuned on it. The seal lets everybody do what needs no
look at the samples (its digest, its size, whether an input is among them) and counts who opened it. It lives in one
process; across processes a certificate is a stage under the model's digest, and a stage runs once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.datasets.errors import CertifySpentError, SplitRoleError
from orchestrator.datasets.splits import Role, Split


@dataclass(frozen=True, eq=False)
class SealedSplit:
    """`open_for` gives the samples; everything else keeps them closed."""

    _split: Split = field(repr=False)
    _opened_for: set[str] = field(default_factory=set, repr=False)

    def __post_init__(self) -> None:
        if self._split.role not in (Role.CERTIFY, Role.NONE):
            raise SplitRoleError(f"the certify split is sealed, not the {self._split.role} split")

    def __len__(self) -> int:
        return len(self._split)

    def digest(self) -> str:
        """As `Split.digest`."""
        return self._split.digest()

    @property
    def input_digests(self) -> frozenset[bytes]:
        """As `Split.input_digests`: enough to keep what is in here out of everything else."""
        return self._split.input_digests

    def open_for(self, model_digest: str) -> Split:
        """The samples, to certify one model.

        Raises:
            CertifySpentError: it was opened for this model before.
        """
        if model_digest in self._opened_for:
            raise CertifySpentError(f"the certify split was read for model {model_digest[:12]} already")
        self._opened_for.add(model_digest)
        return self._split
