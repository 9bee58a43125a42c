"""Every link of the pages leads to a file, and every page is in the index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "config").glob("*.md"),
    ROOT / "profiles/README.md",
]


def links(page: Path) -> set[str]:
    return {
        link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")) if ":" not in link
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    missing = [link for link in links(page) if link and not (page.parent / link).exists()]
    assert not missing


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs/README.md"
    named = {(index.parent / link).resolve() for link in links(index)}
    assert {page.resolve() for page in (ROOT / "docs").rglob("*.md")} - named == {index.resolve()}
