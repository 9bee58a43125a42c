"""Jobs of one machine spread over its GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from physembed.engine import cards

TAKE = """
import sys
from physembed.engine.cards import take_card
print(take_card(sys.argv[1]), flush=True)
sys.stdin.read()
"""


def job(folder: Path, visible: str) -> subprocess.Popen[str]:
    """A process that takes a card and keeps it while it lives."""
    return subprocess.Popen(
        [sys.executable, "-c", TAKE, str(folder)], env=os.environ | {"CUDA_VISIBLE_DEVICES": visible},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def taken(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_jobs_take_the_cards_that_the_fewest_have(tmp_path: Path) -> None:
    jobs = [job(tmp_path / "locks", "0,GPU-b")]
    try:
        assert taken(jobs[0]) == "0"
        for expected in ("GPU-b", "0", "GPU-b"):
            jobs.append(job(tmp_path / "locks", "0,GPU-b"))
            assert taken(jobs[-1]) == expected
        jobs[1].kill()
        jobs[1].wait()
        jobs.append(job(tmp_path / "locks", "0,GPU-b"))
        assert taken(jobs[-1]) == "GPU-b", "a killed process keeps no card"
    finally:
        for process in jobs:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("visible", ["", "1", "GPU-a"])
def test_a_card_that_was_given_is_left_alone(visible: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert cards.take_card(tmp_path) is None
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible
    assert not list(tmp_path.iterdir())


def test_without_a_list_the_driver_names_the_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(cards, "DRIVER", tmp_path / "gpus")
    monkeypatch.setattr(cards, "WINDOWS", tmp_path / "dxg")
    assert cards.visible_cards() == []
    (tmp_path / "dxg").touch()
    assert cards.visible_cards() == ["0"]
    for bus in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "gpus" / bus).mkdir(parents=True)
    assert cards.visible_cards() == ["0", "1"]
