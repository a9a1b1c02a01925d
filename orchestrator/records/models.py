"""Published models."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.records.jobs import Measurement


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    digest: str
    name: str
    size_bytes: int  # model file and tensor blobs, without golden vectors
    file_bytes: int
    published_at_ms: int
    job_id: str
    blob_digests: tuple[str, ...] = ()
    statement_digests: tuple[str, ...] = ()
    measurements: tuple[Measurement, ...] = ()
