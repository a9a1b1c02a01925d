"""What Prometheus sees: base units, no devices, and a bounded number of series at any size of the fleet."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_agent.sketch import LatencySketch
from orchestrator.config import RetentionConfig
from orchestrator.records import DeviceFacts, PublishedModel
from orchestrator.store import Database, Session
from orchestrator.telemetry.prometheus import METRICS, SERIES_PER_METRIC, Metrics
from orchestrator.telemetry.retention import forget_old
from protos import fleet_pb2
from tests.control_plane import digest_of, window


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(tmp_path / "control.db", clock=lambda: 1_000_000)
    yield opened
    await opened.close()


def fill(session: Session, devices: int, classes: int, models: int) -> None:
    latency = LatencySketch()
    latency.add(2000.0, 10)
    for number in range(models):
        digest = digest_of(f"m{number}").hex()
        session.models.put(
            PublishedModel(digest=digest, name="fashion", size_bytes=1, file_bytes=1, published_at_ms=1, job_id="j")
        )
    for number in range(devices):
        device_class, model = f"class-{number % classes}", f"m{number % models}"
        session.devices.observe(
            f"cam-{number}",
            DeviceFacts(device_class=device_class),
            accepted_generation=0,
            running_digest=digest_of(model).hex(),
            samples_consent=False,
        )
        counted = window(model, end_ms=999_000, requests=10, engine_latency_us=latency.to_proto())
        session.telemetry.add_windows(f"cam-{number}", device_class, "s", {1: counted})


async def scrape(database: Database) -> tuple[dict[str, dict[tuple[str, ...], float]], str]:
    metrics = Metrics()
    metrics.observe("/espalier.fleet.v1.Fleet/Sync", "OK", 0.01)
    await metrics.refresh(database, lambda: 3)
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    text = body.decode()
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found, text


async def test_the_fleet_is_added_up(database: Database) -> None:
    await database.write(lambda session: fill(session, devices=4, classes=2, models=1))
    found, _ = await scrape(database)
    assert found["espalier_devices"] == {("class-0", "true"): 2, ("class-1", "true"): 2}
    assert found["espalier_sessions"] == {(): 3}
    assert found["espalier_published_models"] == {("fashion",): 1}
    requests = found["espalier_recent_requests"]
    assert sum(requests.values()) == 40
    p95 = next(value for labels, value in found["espalier_recent_engine_seconds"].items() if "0.95" in labels)
    assert abs(p95 - 0.002) < 0.00003
    assert found["espalier_rpcs_total"] == {("Fleet/Sync", "OK"): 1} or found["espalier_rpcs_total"] == {
        ("OK", "Fleet/Sync"): 1
    }


async def test_no_label_names_a_device_and_the_series_are_bounded(database: Database) -> None:
    await database.write(lambda session: fill(session, devices=700, classes=700, models=3))
    found, text = await scrape(database)
    assert "cam-" not in text
    for name, series in found.items():
        assert len(series) <= SERIES_PER_METRIC, name
    assert ("other", "other") in found["espalier_devices"]
    assert sum(found["espalier_devices"].values()) == 700


def test_units_are_in_the_names_and_every_metric_is_described() -> None:
    for info in METRICS:
        assert re.fullmatch(r"espalier_[a-z_]+", info.name)
        assert info.meaning
        assert not re.search(r"_(ms|us|millis|kib|mb)(_|$)", info.name)
        assert "device_id" not in info.labels
        assert (info.kind == "counter") == info.name.endswith("_total")


def test_the_documentation_lists_every_metric() -> None:
    page = (Path(__file__).parents[3] / "docs" / "telemetry.md").read_text()
    listed = set(re.findall(r"^\| `(espalier_[a-z_]+)` \|", page, re.MULTILINE))
    assert listed == {info.name for info in METRICS}
    for info in METRICS:
        assert f"| {info.meaning} |" in page, info.name


async def test_what_is_old_is_forgotten_but_not_that_it_was_taken(tmp_path: Path) -> None:
    now = [0]
    database = await Database.open(tmp_path / "control.db", clock=lambda: now[0])

    def write(session: Session) -> None:
        fill(session, devices=1, classes=1, models=1)
        session.telemetry.move_cursor("cam-0", "telemetry", "s", 2)
        session.samples.add("cam-0", [fleet_pb2.Sample(seq=1, model_sha256=b"x" * 32, raw=b"1")])

    await database.write(write)
    now[0] = 100_000
    config = RetentionConfig(events_s=50, windows_s=50, samples_s=50)
    await database.write(lambda session: forget_old(session, config))

    def look(session: Session) -> tuple[object, ...]:
        windows = list(session.telemetry.windows())
        return len(windows), session.samples.stats(), session.telemetry.next_seq("cam-0", "telemetry", "s")

    assert await database.read(look) == (0, [], 2)
    assert len((await database.read(lambda session: session.events(after=database.revision - 1)))[0]) == 1
    await database.close()
