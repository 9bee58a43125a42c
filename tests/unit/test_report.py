"""Tables, sentences and the page of an invented study of molecules."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ase import Atoms

from physembed.analysis.survival import collapse_fractions, compare_arms
from physembed.config import Arm
from physembed.errors import PhysEmbedError
from physembed.learning.rounds import ROUND, round_without_runs, rounds_table
from physembed.report.catalogue import MOLECULE_FIGURES, figures_of_molecule
from physembed.report.summary import (
    MoleculeSummary,
    answer,
    cautions,
    change_in_words,
    headline,
    molecule_tables,
    write_summary,
)
from physembed.report.summary import _molecule as summary_of_molecule
from physembed.report.survival_figures import (
    comparison_lines,
)
from physembed.report.tables import (
    labels_spent,
    ledger_table,
    model_error_table,
    paper_stability,
    stability_table,
)
from physembed.tables import read_table
from tests.unit.molecule_study import CHANGES, SOURCES, Made, part_of, with_rearrangements
from tests.unit.shown import Page


@pytest.fixture(scope="module")
def made() -> Made:
    return Made()


@pytest.fixture(scope="module")
def svgs(made: Made, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return made.saved(tmp_path_factory.mktemp("figures"))


def test_paper_numbers() -> None:
    paper = paper_stability().set_index(["molecule", "arm"])["collapsed_percent"]
    assert paper.xs("original", level="arm").to_dict() == {"Novec7000": 59, "Ac-Ala3-NHMe": 22, "paracetamol": 77}
    assert set(paper.xs("adaptive", level="arm")) == {0}


def test_labels_are_those_spent() -> None:
    """Rejected labels count, and those of the models that an arm begins as."""
    ledgers = {"bent_10": pd.DataFrame({"status": ["ok"] * 8 + ["force_cap"] * 2}), "plain": pd.DataFrame({"a": [1]})}
    spent = labels_spent(ledgers, {"bent_10": ["bent_10"], "on_10": ["plain", "bent_10"], "given": []})
    assert spent == {"bent_10": 10, "on_10": 11, "given": 0}


def test_tables_of_the_study(made: Made) -> None:
    fractions = with_rearrangements(made.runs)
    few = made.ledgers | {"adaptive": made.ledgers["adaptive"][:30]}
    ledgers = {"paracetamol": made.ledgers, "ethanol": few}
    of_molecules = {"paracetamol": fractions, "ethanol": fractions}
    stability = stability_table(of_molecules, ledgers, SOURCES, 2.0, 800.0)
    assert list(stability["labels"]) == [45, 45, 45, 30]  # rejected ones count
    shared = stability_table(of_molecules, ledgers, {"original": [], "adaptive": ["original"]}, 2.0, 800.0)
    assert list(shared["labels"]) == [0, 45, 0, 45]
    begun = {"original": ["original"], "adaptive": ["adaptive", "original"]}  # the models of another arm, trained on
    assert list(stability_table(of_molecules, ledgers, begun, 2.0, 800.0)["labels"]) == [45, 90, 45, 75]
    assert list(stability["molecule"]) == ["paracetamol", "paracetamol", "ethanol", "ethanol"]
    assert list(stability["paper_collapsed_percent"][:2]) == [77, 0]
    assert stability["paper_collapsed_percent"][2:].isna().all()
    assert (stability["runs"] == 100).all()
    assert (stability["new_contact_runs"] == 10).all() and (stability["inverted_runs"] == 0).all()
    errors = model_error_table({"a": made.frames}, {"a": made.forces})
    np.testing.assert_allclose(errors["energy_rmse_meV_atom"], 10)
    # The mean square error of a set is the mean over its frames, all having as many atoms.
    squares = (made.frames["force_rmse_eV_A"] ** 2).groupby([made.frames["arm"], made.frames["set"]]).mean()
    for row in errors.to_dict("records"):
        assert row["force_rmse_meV_A"] == pytest.approx(1000 * np.sqrt(squares[row["arm"], row["set"]]))
    labels = ledger_table({"a": made.ledgers})
    assert list(labels["set"]) == ["validation", *made.arms]
    assert (labels["frames"] == 45).all()


def runs_with(*collapsed: int, seeds: int = 2) -> MoleculeSummary:
    """A molecule whose arms have 10 runs a seed, of which so many collapsed, at different times."""
    rows = [
        (arm, 1 + index % seeds, index // seeds, index < count, 10.0 + index if index < count else 2000.0)
        for arm, count in zip(("original", "adaptive"), collapsed, strict=False)
        for index in range(10 * seeds)
    ]
    runs = pd.DataFrame(rows, columns=["arm", "seed", "replica", "collapsed", "time_fs"])
    return MoleculeSummary("paracetamol", collapse_fractions(runs), compare_arms(runs), {})


def test_answer_in_a_sentence() -> None:
    """The test over seeds comes first, arms' modifications are named, and nothing over runs is called significant."""
    text = answer(runs_with(18, 4), CHANGES).replace("\N{NO-BREAK SPACE}", " ")
    assert text == (
        "original (unmodified frames) 18 of 20 runs collapsed (90 %, 95 % interval 68 % to 98.8 %), "
        "adaptive (3 modified bonds per frame) 4 of 20 (20 %, 6 % to 44 %); p = 0.33 over seeds (2 + 2 models); "
        "log-rank p < 0.0001 over runs of these models only."
    )
    assert "significant" not in text
    assert "log-rank" not in answer(runs_with(18), CHANGES)


def test_the_headline_follows_the_test_over_seeds() -> None:
    assert headline(runs_with(18, 4)) == "The test over seeds shows no difference between original and adaptive."
    assert headline(runs_with(36, 8, seeds=4)) == (
        "Models of adaptive survive longer than those of original: 8 of 40 runs collapse, 36 of 40 there."
    )
    assert headline(runs_with(18)) == "2 of 20 runs of original survive."


def several(seeds: int, *chances: float, pairs: list[list[str]] | None = None) -> MoleculeSummary:
    """Arms of a study with more than one pair, of whose runs such shares collapse, seed by seed."""
    rows = [
        (f"arm{arm}", seed, run, run < 20 * chance, 10.0 + run if run < 20 * chance else 2000.0)
        for arm, chance in enumerate(chances) for seed in range(seeds) for run in range(20)
    ]  # fmt: skip
    runs = pd.DataFrame(rows, columns=["arm", "seed", "replica", "collapsed", "time_fs"])
    return MoleculeSummary("paracetamol", collapse_fractions(runs), compare_arms(runs, pairs), {})


def test_several_pairs_are_corrected_and_the_page_says_so() -> None:
    three, changes = several(6, 0.9, 0.1, 0.1), {f"arm{index}": "changed" for index in range(12)}
    text = answer(three, changes).replace("\N{NO-BREAK SPACE}", " ")
    # 3 x 2/924
    assert (
        "; over seeds (6 + 6 models) arm0 against arm1 p = 0.0065, arm0 against arm2 p = 0.0065, arm1 against" in text
    )
    assert text.endswith("; p-values corrected for 3 comparisons (Holm).")
    assert headline(three).startswith("Models of arm1 survive longer than those of arm0")
    assert headline(several(6, 0.5, 0.5, 0.5)) == (
        "The test over seeds, corrected for 3 comparisons (Holm), shows no difference between arm0 and arm1 or arm2."
    )
    *pairs, last = comparison_lines(three.comparison)
    assert len(pairs) == 3 and last == "p-values corrected for 3 comparisons (Holm)"
    assert "Holm" not in "".join(comparison_lines(runs_with(18, 4).comparison))


def test_the_headline_of_planned_comparisons_is_about_these() -> None:
    chances = [0.9, 0.1, 0.8, 0.2, 0.5, 0.5]

    def of(*pairs: list[str]) -> str:
        return headline(several(5, *chances, pairs=list(pairs)))

    # 3 x 2/252 = 0.024, but all 15 pairs would take 6 seeds.
    assert "cannot tell any two arms apart" in headline(several(5, *chances))
    assert of(["arm0", "arm1"], ["arm3", "arm2"], ["arm4", "arm5"]) == (
        "Models survive longer with arm1 than with arm0 (10 against 90 of 100 runs collapse) and with arm3 than "
        "with arm2 (20 against 80 of 100 runs collapse); the test over seeds, corrected for 3 comparisons "
        "(Holm), shows no difference between arm4 and arm5."
    )
    assert of(["arm4", "arm5"]) == "The test over seeds shows no difference between arm4 and arm5."
    assert of(["arm1", "arm0"]).startswith("Models survive longer with arm1 than with arm0 (10 against 90 of")


def test_of_many_pairs_those_with_the_smallest_p_values_are_written_out() -> None:
    many, changes = several(5, *[0.9] * 9, 0.1), {f"arm{index}": "changed" for index in range(12)}
    *pairs, last = comparison_lines(many.comparison)
    assert len(pairs) == 6 and all("arm9: p = 0.36 over" in line for line in pairs)
    assert last == "p-values corrected for 45 comparisons (Holm): the 6 smallest, survival/comparison.csv has all"
    assert "; over seeds (5 + 5 models) p = 0.36 for each pair; log-rank over runs" in re.sub(
        "\xa0", " ", answer(many, changes)
    )
    # 45 x 2/252 = 0.36: no difference can be shown, however large, which is another thing than to show none.
    assert headline(many) == (
        "With this few seeds the test over seeds, corrected for 45 comparisons (Holm), cannot tell any two arms apart; "
        "the fewest runs collapse with arm9: 10 of 100."
    )
    limits = cautions(many, 100.0, 800.0, per_seed=False)
    (seeds,) = [sentence for sentence in limits if "few seeds" in sentence]
    assert seeds.startswith("Corrected for 45 comparisons, no p-value over seeds can be below 0.36")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bonds_per_frame": 0}, "unmodified frames"),
        ({}, "1 modified bond per frame"),
        ({"bonds_per_frame": 3, "angles_per_frame": 1}, "3 modified bonds and 1 modified angle per frame"),
        ({"keep_unmodified": True}, "1 modified bond per frame, plus the unmodified ones"),
        ({"draws": "even", "frames": 20}, "1 modified bond per frame, drawn evenly, first 20 frames"),
        ({"bonds_per_frame": 0, "draws": "even"}, "unmodified frames"),
        ({"training": {"repulsion": "zbl"}}, "1 modified bond per frame, with a ZBL repulsion"),
        ({"frames_of": "bent", "training": {"steps_of": "long"}}, "frames of bent, as many steps as long"),
        ({"frames_of": "bent", "training": {"weighting": "elements"}}, "frames of bent, elements count the same"),
        ({"frames": 0, "base": {"file": "models/off.model"}}, "off.model, without training"),
        ({"frames": 0, "base": {"pretraining": True}}, "pre-trained models, without training"),
        ({"frames_of": "adaptive", "base": {"pretraining": True}}, "frames of adaptive, pre-trained"),
        ({"bonds_per_frame": 0, "base": {"file": "models/off.model"}}, "unmodified frames, from off.model"),
        ({"base": {"arm": "original"}}, "1 modified bond per frame, from the models of original"),
        ({"frames_of": "adaptive", "learning": {"rounds": 2}}, "frames of adaptive, 2 rounds of learning"),
    ],
)
def test_what_an_arm_does_in_words(settings: dict[str, Any], words: str) -> None:
    assert change_in_words(Arm.model_validate(settings).model_dump()) == words


def test_cautions_name_what_limits_the_result() -> None:
    short = "\n".join(cautions(runs_with(18, 0), 2.0, 800.0, per_seed=False)).replace("\N{NO-BREAK SPACE}", " ")
    assert "These runs last 2 ps, the paper's 100 ps" in short
    # 1 - 0.05^(1/20) = 13.9 %
    assert "No collapse in the 20 runs of adaptive shows only that at least 86 % of such runs" in short
    assert "With this few seeds no p-value can be below 0.33" in short
    (shared,) = cautions(runs_with(18, 4, seeds=4), 100.0, 800.0, per_seed=False)
    assert "the test over seeds applies to this data set only" in shared
    (own,) = cautions(runs_with(18, 4, seeds=4), 100.0, 800.0, per_seed=True)
    assert "its own frames and modifications" in own
    assert "600 K" in " ".join(cautions(runs_with(18, 4, seeds=4), 100.0, 600.0, per_seed=False))
    one = " ".join(cautions(runs_with(18, seeds=1), 100.0, 800.0, per_seed=False))
    assert "One seed" in one and "data set" not in one


def test_a_study_of_labels_begins_with_their_figure(made: Made, svgs: dict[str, Path]) -> None:
    def names(figures: dict[str, Path]) -> list[str]:
        molecule = replace(part_of(made, "x", svgs).molecules[0], figures=figures)
        shown = summary_of_molecule(molecule, part_of(made, "x", svgs), True)
        return [shown["lead"], *(figure["name"] for figure in shown["figures"])]

    with_labels, without = figures_of_molecule(label_series=True), figures_of_molecule(label_series=False)
    assert names(svgs) == ["survival_against_labels", *with_labels]
    assert names({name: svgs[name] for name in without}) == ["survival", *without]
    assert set(with_labels) - set(without) == {"survival_against_labels"}


def test_summary_is_one_complete_file(tmp_path: Path, made: Made, svgs: dict[str, Path]) -> None:
    name = "<b>x & y"
    part = part_of(made, name, svgs)
    (molecule,) = part.molecules
    arguments: dict[str, Any] = {
        "study": "demo", "settings": {"training": {"seeds": [1, 2]}, "study": "demo"}, "versions": {"torch": "2.11.0"},
        "with_figures": True,
    }  # fmt: skip
    write_summary(tmp_path / "summary.html", part, [], **arguments)
    page = Page((tmp_path / "summary.html").read_text("utf-8"))
    page.check_alone()
    assert page.images == len(MOLECULE_FIGURES)
    # A name is text, whatever is in it.
    for expected in (name, answer(molecule, CHANGES), headline(molecule), "training.seeds", "[1, 2]", "2.11.0"):
        assert expected in page.text
    assert "Which models survive? Study “demo”" in page.text and "Liquids" not in page.text
    write_summary(tmp_path / "short.html", part, [], **arguments | {"with_figures": False})
    source = (tmp_path / "short.html").read_text("utf-8")
    short = Page(source)
    assert short.images == 0 and answer(molecule, CHANGES) in short.text
    # Browsers refuse data: URLs above 2 MB, as which Snakemake's report contains this page.
    assert len(source) < 50_000
    with pytest.raises(PhysEmbedError, match="figure 'survival' is missing"):
        figures = {key: path for key, path in svgs.items() if key != "survival"}
        without = replace(molecule, figures=figures)
        write_summary(tmp_path / "no.html", replace(part, molecules=[without]), [], **arguments)
    assert not (tmp_path / "no.html").exists()


def test_rounds_of_learning_stand_in_a_table_of_their_own(tmp_path: Path, made: Made, svgs: dict[str, Path]) -> None:
    part = part_of(made, "water", svgs)
    assert len(molecule_tables(part)) == 3, "a study without rounds has none"
    run = dict(zip(ROUND, (45, 10, 93.4, 1.26, 2.345, 20, 3, 1, 0.4010, ""), strict=True))
    rows = [pd.DataFrame([run]), round_without_runs([Atoms()] * 55)[1]]
    rounds_table([("water", "learned", number, row) for number, row in enumerate(rows, 1)]).to_csv(
        tmp_path / "rounds.csv", index=False
    )
    *_, table = molecule_tables(replace(part, rounds=read_table(tmp_path / "rounds.csv")))
    assert table.title == "Rounds of learning"
    cells = [[cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row] for row in table.rows]
    assert cells == [
        ["water", "learned", "1", "45", "10", "93", "2.35 (1.26)", "3 + 1 of 20", "40 %", ""],
        ["water", "learned", "2", "55", "0", "", "", "not run", "", "ended before"],
    ]


def test_package_holds_its_data() -> None:
    folder = files("physembed.report")
    for name in ("summary.html", "paper_stability.csv", "paper_density.csv", "paper_viscosity.csv"):
        assert folder.joinpath(name).is_file()
