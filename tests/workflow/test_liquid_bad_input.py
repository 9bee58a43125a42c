"""Bad input about liquids ends before anything runs: one clear line, nothing written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from tests.unit.models_for_tests import random_mace

from .conftest import LIQUIDS, Checkout, copy_repository
from .test_bad_input import assert_refused

HEADER = "name\tcomponents\ttemperature_K\tpressure_bar\tmolecules\tcomment\n"
GOOD = "DMC_298K\tDMC COC(=O)OC\t298.15\t1.01325\t8\t\n"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return copy_repository(tmp_path_factory.mktemp("bad_liquids"), LIQUIDS)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("liquids: {models: [tyni]}", ["liquids.models", "tyni"]),
        ("liquids: {table: missing.tsv}", ["missing.tsv"]),
        ("models: {tiny: {convention: d4}}", ["models.tiny.convention", "d4"]),
        ("models: {tiny: {alphas: [0]}}", ["models.tiny.alphas", "0"]),
        ("models: {tiny: {tune_on: DMC_320K}}", ["models.tiny.tune_on", "DMC_320K", "no density"]),
        ("models: {tiny: {tune_on: DMC_298}}", ["models.tiny.tune_on", "DMC_298", "DMC_298K"]),
        ("models: {tiny: {file: missing.model}}", ["models.tiny.file", "missing.model"]),
        ("models: {tiny: {file: 'https://example.org/x.model'}}", ["models.tiny.file", "https"]),
        ("models: {tiny: {data: missing.xyz}}", ["models.tiny.data", "missing.xyz"]),
        ("models: {tiny: {file: a.model, data: b.xyz}}", ["models.tiny.data", "a.model"]),
        ("models: {tiny: {reference: {temperatures_K: [-300]}}}", ["temperatures_K", "-300"]),
        ("scan: {a1: [0.5]}", ["scan.a1", "0.5"]),
        ("scan: {a1: [0.5, 0.5]}", ["scan.a1", "0.5"]),
        ("gaff_npt: {cutoff_A: 10}", ["DMC_298K", "molecules", "cutoff_A"]),
        ("npt: {longest_ps: 0.01, standard_error_g_cm3: 0.1}", ["npt.longest_ps", "0.01", "duration_ps 0.05"]),
        ("npt: {longest_ps: 5}", ["npt.longest_ps", "needs npt.standard_error_g_cm3"]),
        ("npt: {standard_error_g_cm3: 0.1}", ["npt.standard_error_g_cm3", "needs npt.longest_ps"]),
        ("npt: {window_ps: 5}", ["npt.window_ps", "5"]),
        ("npt: {barostat: berendsen}", ["npt.barostat", "berendsen"]),
    ],
)
def test_configuration(checkout: Checkout, tmp_path: Path, settings: str, expected: list[str]) -> None:
    (tmp_path / "bad.yaml").write_text(settings)
    assert_refused(checkout, tmp_path / "bad.yaml", expected)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("mix\tEC O=C1OCCO1 0.3; EMC CCOC(=O)OC 0.6\t298.15\t1\t100\t", ["mix", "components", "0.9"]),
        ("cold\tDMC COC(=O)OC\t-5\t1\t100\t", ["cold", "temperature_K", "-5"]),
        ("boron\tTMB COB(OC)OC\t298\t1\t100\t", ["boron", "B"]),
        ("few\tEC O=C1OCCO1 0.3; EMC CCOC(=O)OC 0.7\t298.15\t1\t1\t", ["few", "molecules", "1"]),
        ("a/b\tDMC COC(=O)OC\t298\t1\t100\t", ["a/b"]),
    ],
)
def test_liquids(checkout: Checkout, tmp_path: Path, row: str, expected: list[str]) -> None:
    (tmp_path / "liquids.tsv").write_text(HEADER + GOOD + row + "\n")
    (tmp_path / "bad.yaml").write_text(f"liquids: {{table: {tmp_path / 'liquids.tsv'}}}")
    assert_refused(checkout, tmp_path / "bad.yaml", expected)


@pytest.mark.parametrize("density", ["1063", "0.001", "-1", "dense"])
def test_density_out_of_any_reason(checkout: Checkout, tmp_path: Path, density: str) -> None:
    header = "components\ttemperature_K\tdensity_g_cm3\tviscosity_mPa_s\tsource\n"
    (tmp_path / "experiment.tsv").write_text(f"{header}DMC\t298.15\t{density}\t\ta book\n")
    (tmp_path / "bad.yaml").write_text(f"liquids: {{experiment: {tmp_path / 'experiment.tsv'}}}")
    assert_refused(checkout, tmp_path / "bad.yaml", ["density_g_cm3", density])


def test_model_files(checkout: Checkout, tmp_path: Path) -> None:
    text, other = tmp_path / "text.model", tmp_path / "other.model"
    text.write_text("not a model")
    torch.save({"weights": torch.zeros(3)}, other)
    hydrocarbons = tmp_path / "hydrocarbons.model"
    torch.save(random_mace((1, 6)), hydrocarbons)
    digest = hashlib.sha256(other.read_bytes()).hexdigest()
    for settings, expected in [
        (f"file: {text}", ["models.tiny.file", "text.model"]),
        (f"file: {other}", ["models.tiny.file", "other.model", "MACE"]),
        (f"file: {other}, sha256: {'a' * 64}", ["models.tiny.file", digest]),
        (f"file: {hydrocarbons}", ["models.tiny.file", "does not know O", "DMC_298K"]),
    ]:
        (tmp_path / "bad.yaml").write_text(f"models: {{tiny: {{{settings}}}}}")
        assert_refused(checkout, tmp_path / "bad.yaml", expected)


def test_training_data_without_stress(checkout: Checkout, tmp_path: Path) -> None:
    frame = '2\nLattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3:REF_forces:R:3 REF_energy=-1.0 pbc="T T T"\n'
    (tmp_path / "data.xyz").write_text(frame + "C 0 0 0 0 0 0\nO 0 0 1.2 0 0 0\n")
    (tmp_path / "bad.yaml").write_text(f"models: {{tiny: {{data: {tmp_path / 'data.xyz'}}}}}")
    assert_refused(checkout, tmp_path / "bad.yaml", ["models.tiny.data", "REF_stress"])
