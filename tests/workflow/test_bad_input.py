"""Bad input ends before anything runs: one clear line, exit code not 0, no traceback, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Checkout, copy_repository


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return copy_repository(tmp_path_factory.mktemp("bad"))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("stability:\n  temperture_K: 800\n", ["stability.temperture_K", "temperature_K"]),
        ("stability:\n  temperature_K: -5\n", ["stability.temperature_K", "-5"]),
        ("frames:\n  train: 0\n", ["frames.train", "0"]),
        ("frames:\n  train: 900\n", ["frames", "900"]),
        ("training:\n  learning_rate: 1e-2\n", ["training.learning_rate", "1e-2"]),
        ("molecules:\n  names: [methanl]\n", ["methanl", "methanol"]),
        ("molecules:\n  table: missing.tsv\n", ["missing.tsv"]),
        ("arms:\n  validation: {}\n", ["validation"]),
        ("study: ../elsewhere\n", ["study", "../elsewhere"]),
        ("seed: 1\ntraining:\n  epochs: 2\nseed: 2\n", ["bad.yaml", "lines 1 and 4", "seed"]),
        ("arms:\n  orignal: null\n", ["bad.yaml", "line 2", "arms.orignal", "'original'"]),
    ],
)
def test_configuration(checkout: Checkout, tmp_path: Path, settings: str, expected: list[str]) -> None:
    (tmp_path / "bad.yaml").write_text(settings)
    assert_refused(checkout, tmp_path / "bad.yaml", expected)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("broken\tC1CC\t\t\t\t", ["broken", "C1CC"]),
        ("boron\tCB(O)O\t\t\t\t", ["boron", "B"]),
        ("radical\tC[CH2]\t\t\t\t", ["radical", "electron"]),
        ("METHANOL\tCCCO\t\t\t\t", ["METHANOL"]),
        ("a/b\tCO\t\t\t\t", ["a/b"]),
        ("file\t\tno_such.sdf\t\t\t", ["no_such.sdf"]),
        ("mixture\tCO.CO\t\t\t\t", ["CO.CO"]),
    ],
)
def test_molecules(checkout: Checkout, tmp_path: Path, row: str, expected: list[str]) -> None:
    header = "name\tsmiles\tstructure\ttopology\tcoordinates\tcomment"
    (tmp_path / "table.tsv").write_text(f"{header}\nmethanol\tCO\t\t\t\t\n{row}\n")
    (tmp_path / "bad.yaml").write_text(f"molecules:\n  table: {tmp_path / 'table.tsv'}\n  names: all\n")
    assert_refused(checkout, tmp_path / "bad.yaml", expected)


def assert_refused(checkout: Checkout, overlay: Path, expected: list[str]) -> None:
    done = checkout.snakemake(str(overlay), "--cores", "1", "--quiet")
    output = (done.stdout + done.stderr).strip().splitlines()
    lines = [line for line in output if not line.startswith(("Using ", "Config file"))]
    assert done.returncode != 0
    assert len(lines) == 1, output
    for text in expected:
        assert text in lines[0]
    assert not (checkout.root / "results").exists()
