"""A job's fronts hold what nothing beats on that class, and the picture shows every point of them."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from orchestrator.cli.front_picture import draw
from orchestrator.cli.fronts import fronts
from orchestrator.cli.jobs import CANDIDATE_COLUMNS
from orchestrator.cli.pareto import document

SVG = "{http://www.w3.org/2000/svg}"


def measured(device_class: str, p95_us: float, *, on_control_plane: bool = False) -> dict[str, Any]:
    return {
        "device_class": device_class,
        "latency_p50_us": p95_us / 2,
        "latency_p95_us": p95_us,
        "peak_ram_bytes": 1000,
        "on_control_plane": on_control_plane,
    }


def candidate(name: str, accuracy: float, size: int, *measurements: dict[str, Any], chosen: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "model_sha256": "ab" * 32,
        "accuracy": accuracy,
        "model_bytes": size,
        "peak_ram_bytes": 1000,
        "measurements": list(measurements),
        "chosen_for": [chosen] if chosen else [],
    }


def job(*candidates: dict[str, Any]) -> dict[str, Any]:
    about = {"id": "j", "name": "j", "state": "succeeded", "message": "", "search": None}
    return {**about, "candidates": list(candidates), "teacher_accuracy": 0.95}


def test_each_class_has_its_own_front_of_what_it_measured() -> None:
    found = fronts(
        job(
            candidate("slow", 0.94, 900, measured("camera", 400), measured("gateway", 90), chosen="gateway"),
            candidate("quick", 0.90, 300, measured("camera", 100), measured("gateway", 90)),
            candidate("worse", 0.89, 400, measured("camera", 120)),
        )
    )
    assert [row["device_class"] for row in found] == ["camera", "gateway"]
    camera, gateway = found
    assert [point["candidate"] for point in camera["front"]] == ["slow", "quick"]
    assert [point["candidate"] for point in camera["dominated"]] == ["worse"]
    assert [point["candidate"] for point in gateway["front"]] == ["slow", "quick"]
    assert (camera["chosen"], gateway["chosen"]) == (None, "slow")
    assert abs(camera["front"][1]["accuracy_drop"] - 0.05) < 1e-12


def test_what_is_chosen_for_every_class_is_not_chosen_for_one_that_has_its_own() -> None:
    found = fronts(
        job(
            candidate("own", 0.90, 300, measured("camera", 100), measured("gateway", 90), chosen="gateway"),
            candidate("common", 0.94, 900, measured("camera", 400), measured("gateway", 95), chosen="*"),
        )
    )
    chosen = {row["device_class"]: [p["candidate"] for p in row["front"] if p["is_chosen"]] for row in found}
    assert chosen == {"camera": ["common"], "gateway": ["own"]}
    assert [row["chosen"] for row in found] == ["common", "own"]


def test_a_class_without_a_choice_shows_what_blocks_it_even_where_another_class_has_one() -> None:
    served = candidate("wide", 0.94, 900, measured("camera", 400), measured("gateway", 90), chosen="gateway")
    blocked = candidate("narrow", 0.90, 300, measured("camera", 300), measured("gateway", 95))
    both = job({**served, "verdict": "gateway: chosen; camera: too slow"}, {**blocked, "verdict": "camera: too slow"})
    assert [row["verdict"] for row in document(both, fronts(both))["nearest"]] == [
        "gateway: chosen; camera: too slow",
        "camera: too slow",
    ]
    alone = job({**served, "measurements": served["measurements"][1:]})
    assert document(alone, fronts(alone))["nearest"] == []


def test_a_device_counts_over_the_stand_in_and_the_worst_of_several_devices_counts() -> None:
    stand_in = measured("camera", 10, on_control_plane=True)
    (row,) = fronts(job(candidate("a", 0.9, 1, stand_in, measured("camera", 70), measured("camera", 90))))
    assert row["front"][0]["latency_p95_us"] == 90
    assert not row["front"][0]["on_control_plane"]


def test_a_job_without_measurements_has_no_fronts() -> None:
    assert fronts(job(candidate("a", 0.9, 1))) == []


def test_the_picture_is_well_formed_and_has_a_named_mark_for_every_point_whatever_their_names_hold() -> None:
    classes = fronts(
        job(
            candidate("<w4> & co", 0.94, 900, measured("camera", 400), chosen="camera"),
            candidate("alone", 0.94, 900, measured("gate<way", 400)),
            candidate("beaten", 0.5, 900, measured("camera", 500), chosen="*"),
        )
    )
    document = ElementTree.fromstring(draw("job & more", classes))
    titles = [mark.findtext(f"{SVG}title", "") for mark in document.iter(f"{SVG}circle")]
    assert sorted(title.partition(":")[0] for title in titles) == ["<w4> & co", "alone", "beaten"]
    xs = [float(mark.get("cx", "nan")) for mark in document.iter(f"{SVG}circle")]
    assert all(0 < x < 1040 for x in xs)


def test_a_candidate_that_could_not_be_made_is_on_no_front_and_has_no_figures() -> None:
    made = candidate("wide", 0.94, 900, measured("camera", 400), chosen="camera")
    refused = {**candidate("narrow", 0.0, 0), "model_sha256": "", "peak_ram_bytes": 0}
    (camera,) = fronts(job(made, refused))
    assert [point["candidate"] for point in [*camera["front"], *camera["dominated"]]] == ["wide"]
    assert [column.cell(refused) for column in CANDIDATE_COLUMNS] == ["narrow", "-", "-", "-", "-", "-", "-"]
