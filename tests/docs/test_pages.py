"""The documentation says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.generate import PAGES
from orchestrator.cli.exit_codes import EXIT_CODES, ExitCode
from protos import fleet_pb2

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES_BY_HAND = sorted(path for path in [ROOT / "README.md", *DOCS.rglob("*.md")])


@pytest.mark.parametrize("name", PAGES)
def test_a_page_written_from_the_code_is_up_to_date(name: str) -> None:
    """If this fails: make docs."""
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name]()


def test_every_exit_code_has_a_meaning() -> None:
    assert set(EXIT_CODES) == set(ExitCode)


def test_every_field_of_a_telemetry_window_is_explained_and_none_that_is_not_there() -> None:
    text = (DOCS / "telemetry.md").read_text(encoding="utf-8").split("## The way of a window")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert explained == {field.name for field in fleet_pb2.Window.DESCRIPTOR.fields}


@pytest.mark.parametrize("page", PAGES_BY_HAND, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES_BY_HAND, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_that_are_named_exist(page: Path) -> None:
    """`like/this.py` in text names a file of this repository."""
    text = page.read_text(encoding="utf-8")
    for name in re.findall(
        r"`((?:edge_agent|orchestrator|protos|tests|examples|benchmarks|docs|deploy)/[\w./-]+)`", text
    ):
        assert (ROOT / name).exists(), name


def test_every_decision_record_is_in_the_list() -> None:
    listed = set(re.findall(r"\((\d{4}-[\w-]+\.md)\)", (DOCS / "decisions" / "README.md").read_text()))
    assert listed == {path.name for path in (DOCS / "decisions").glob("[0-9]*.md")}
