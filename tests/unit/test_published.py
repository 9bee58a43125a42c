"""A finished study as a page of Markdown: the words and numbers of the summary, and every file that it refers to."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from physembed.errors import PhysEmbedError
from physembed.report.page import Table
from physembed.report.published import SHOWN_OF_MOLECULES, cpu_times, markdown_table, publish
from physembed.report.style import save
from physembed.report.summary import MoleculesPart, MoleculeSummary, answer, headline
from tests.unit.molecule_study import CHANGES, Made, part_of


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> MoleculesPart:
    made, folder = Made(), tmp_path_factory.mktemp("figures")
    return part_of(made, "paracetamol", {key: save(figure, folder / key)[0] for key, figure in made.draw().items()})


def written(part: MoleculesPart, folder: Path) -> Path:
    table = folder / "stability.csv"
    part.stability.to_csv(table, index=False)
    publish(
        folder / "docs" / "demo.md",
        part,
        [],
        [table],
        study="demo",
        commands=["snakemake --configfile config/demo.yaml", "make results CONFIG=config/demo.yaml"],
        versions={"torch": "2.11.0", "rdkit": "1"},
        times=Table("CPU time", ["stage", "jobs", "CPU minutes"], [["all", "3", "1.5"]]),
    )
    return folder / "docs" / "demo.md"


def test_page_has_the_answer_the_tables_and_its_files(part: MoleculesPart, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    page = written(part, tmp_path)
    text, molecule = page.read_text(encoding="utf-8"), part.molecules[0]
    for expected in (
        headline(molecule),
        answer(molecule, CHANGES),
        "make results CONFIG=config/demo.yaml",
        "torch 2.11.0",
    ):
        assert expected in text
    addresses = re.findall(r"\]\(([^)]+)\)", text)
    assert len(addresses) == len(SHOWN_OF_MOLECULES) + 1
    assert all((page.parent / address).stat().st_size > 100 for address in addresses)
    for row in part.stability.to_dict("records"):
        assert re.search(rf"\| paracetamol \| {row['arm']} \| \d+ \| {row['collapsed']} of {row['runs']} \|", text)
    before = {path: path.read_bytes() for path in page.parent.rglob("*") if path.is_file()}
    written(part, tmp_path)
    assert before == {path: path.read_bytes() for path in page.parent.rglob("*") if path.is_file()}


def test_a_missing_figure_is_named_and_no_page_is_left(part: MoleculesPart, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    figures = {key: tmp_path / f"{key}.svg" for key in part.molecules[0].figures}
    molecule = part.molecules[0]
    missing = MoleculesPart(**{**vars(part), "molecules": [MoleculeSummary(**{**vars(molecule), "figures": figures})]})
    with pytest.raises(
        PhysEmbedError, match=r"demo: .*survival_against_labels\.png is missing; run the study to its end first"
    ):
        written(missing, tmp_path)
    assert not (tmp_path / "docs" / "demo.md").exists()


def test_tables_keep_their_columns() -> None:
    lines = markdown_table(Table("t", ["a", "b"], [["x|y", "1\n2"]], notes=["A note."])).splitlines()
    assert lines == ["**t**", "", "| a | b |", "| --- | --- |", r"| x\|y | 1 2 |", "", "A note."]


def test_cpu_time_is_summed_by_stage(tmp_path: Path) -> None:
    seconds = {
        "paracetamol/benchmarks/training_original_seed1": 60.0,
        "paracetamol/benchmarks/training_bent_seed1": 30.0,
        "models/m/benchmarks/npt_DMC_298K": 120.0,
        "models/m/benchmarks/reference_labels_DMC": 6.0,
    }
    for name, value in seconds.items():
        path = tmp_path / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame({"s": [1.0], "cpu_time": [value]}).to_csv(path, sep="\t", index=False)
    table = cpu_times(tmp_path, ["training", "npt", "reference_labels", "reference"])
    assert table.rows == [
        ["npt", "1", "2.0"], ["training", "2", "1.5"], ["reference_labels", "1", "0.1"], ["all", "4", "3.6"],
    ]  # fmt: skip
