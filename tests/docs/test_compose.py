"""docker-compose.yml is a valid Compose document and means what its comment promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    # The checker wants the document without YAML's merge keys, which Compose resolves first as well.
    resolved: dict[str, Any] = yaml.safe_load(text)
    return resolved


def test_the_document_follows_the_compose_specification(document: dict[str, Any]) -> None:
    compose = compose_spec.PyCompose.from_yaml(yaml.safe_dump(document))
    assert set(compose.service_names()) == {
        "ray-head",
        "ray-worker",
        "control-plane",
        "agent-gateway",
        "agent-porch-camera",
    }


def test_a_key_that_compose_does_not_know_would_be_found(document: dict[str, Any]) -> None:
    broken = {**document, "services": {"x": {"image": "y", "comand": ["z"]}}}
    with pytest.raises(ValueError, match="comand"):
        compose_spec.PyCompose.from_yaml(yaml.safe_dump(broken))


def test_nothing_is_published_beyond_loopback_and_agents_do_not_see_ray(document: dict[str, Any]) -> None:
    services = document["services"]
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    for name in ("agent-gateway", "agent-porch-camera"):
        assert services[name]["networks"] == ["fleet"]
    assert document["networks"]["cluster"]["internal"]
    assert document["networks"]["fleet"]["internal"]


def test_every_file_that_it_names_exists(document: dict[str, Any]) -> None:
    for service in document["services"].values():
        assert (ROOT / service["build"]["dockerfile"]).is_file()
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith("./") or (ROOT / source).is_file(), source
