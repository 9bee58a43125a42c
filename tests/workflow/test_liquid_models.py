"""A model of liquids that is given: as a file, and as a data set to train on."""

from __future__ import annotations

import json

import pytest

from physembed.provenance import file_hash

from .conftest import LIQUIDS, Checkout

MODEL = "results/minimal_liquids/models/tiny/model/mace.model"
DATA = "results/minimal_liquids/models/tiny/labels/DMC_298K.xyz"

pytestmark = pytest.mark.chain


def given(study: Checkout, lines: str) -> None:
    """A model `given` beside those of the configuration, and the only one that is run."""
    study.edit(LIQUIDS, "models: [tiny]", "models: [given]")
    study.edit(LIQUIDS, "models:\n  tiny:\n", f"models:\n  given:\n{lines}    tune_on: DMC_298K\n  tiny:\n")


def test_a_file_is_checked_and_used_as_it_is(copy_of_finished_liquids: Checkout) -> None:
    study = copy_of_finished_liquids
    digest = file_hash(study.root / MODEL)
    given(study, f"    file: {MODEL}\n    sha256: {digest}\n    evaluate_on: [DMC_298K]\n")
    planned = study.planned()
    assert not {"reference_frames", "reference_labels", "liquid_training", "box", "gaff_npt"} & set(planned)
    done = study.snakemake("--cores", "1", "results/minimal_liquids/models/given/scan/runs.csv")
    assert done.returncode == 0, done.stderr
    facts = json.loads((study.root / "results/minimal_liquids/models/given/model/model.json").read_text())
    assert (facts["kind"], facts["source"], facts["sha256"]) == ("file", MODEL, digest)
    assert {"H", "C", "O"} == set(facts["elements"])


def test_a_data_set_is_trained_on(copy_of_finished_liquids: Checkout) -> None:
    study = copy_of_finished_liquids
    tiny = "num_channels: 4, max_L: 0, max_ell: 1, correlation: 2, r_max_A: 3.0, epochs: 2, device: cpu"
    given(study, f"    data: {DATA}\n    training: {{{tiny}, batch_size: 4}}\n    evaluate_on: [DMC_298K]\n")
    assert not {"reference_frames", "reference_labels"} & set(study.planned())
    done = study.snakemake("--cores", "1", "results/minimal_liquids/models/given/model/model.json")
    assert done.returncode == 0, done.stderr
    facts = json.loads((study.root / "results/minimal_liquids/models/given/model/model.json").read_text())
    assert (facts["kind"], facts["source"]) == ("data", DATA)
