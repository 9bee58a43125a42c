"""One OpenMP thread for every test, and which tests stay together when several processes share them."""

import os

# Set before any library loads: sums in a fixed order, also where an SCF is nearly degenerate.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

FINISHED_STUDIES = ("finished", "finished_liquids")
"""Fixtures that take minutes, of which every process would make its own."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one finished study, or else of one file, stay in one process; those of the workflow come first."""
    for item in items:
        used = [name for name in FINISHED_STUDIES if name in getattr(item, "fixturenames", ())]
        item.add_marker(pytest.mark.xdist_group(used[0] if used else item.path.stem))
    items.sort(key=lambda item: item.path.parent.name != "workflow")
