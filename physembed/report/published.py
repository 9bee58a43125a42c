"""The results of a finished study as a page of Markdown, with its figures and tables beside it, for a repository.

It says what the summary page says, in the same words, but for a reader who has not run the study: how it was made, with
which versions, and how much CPU time each stage took.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from physembed.errors import PhysEmbedError
from physembed.files import atomic
from physembed.report import liquid_summary
from physembed.report.catalogue import MODEL_FIGURES, MOLECULE_FIGURES
from physembed.report.liquid_summary import ModelSummary
from physembed.report.page import Table
from physembed.report.summary import MoleculesPart, MoleculeSummary, answer, cautions, headline, molecule_tables

SHOWN_OF_MOLECULES = ("survival_against_labels", "survival", "collapse_causes", "training_curves")
SHOWN_OF_MODELS = ("densities", "density_scan", "density_traces", "green_kubo")
"""Figures that the page shows, of those in the catalogue."""
PACKAGES = ("physembed", "torch", "mace-torch", "tblite", "openmm", "torch-sim-atomistic", "numba", "snakemake")
"""Packages whose versions the page gives; the provenance files have all of them."""


def markdown_table(table: Table) -> str:
    """A table of the summary page in Markdown, with its notes below."""

    def row(cells: Iterable[str]) -> str:
        escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
        return f"| {' | '.join(escaped)} |"

    lines = [row(table.headings), row(["---"] * len(table.headings)), *map(row, table.rows)]
    return "\n".join([f"**{table.title}**", "", *lines, *(f"\n{note}" for note in table.notes)])


def cpu_times(study: Path, stages: Sequence[str]) -> Table:
    """CPU time by stage, from Snakemake's benchmark files, which hold the last start of a job.

    Args:
        study: folder of the study's results.
        stages: names of the stages; the longest that begins the name of a file is that of its job.
    """
    jobs: dict[str, list[float]] = {}
    for path in sorted(study.rglob("benchmarks/*.tsv")):
        of = [name for name in stages if f"{path.stem}_".startswith(f"{name}_")]
        seconds = pd.read_csv(path, sep="\t", na_values="-")["cpu_time"].sum()
        jobs.setdefault(max(of, key=len) if of else path.stem, []).append(float(seconds))
    rows = [
        [name, str(len(seconds)), f"{sum(seconds) / 60:.1f}"]
        for name, seconds in sorted(jobs.items(), key=lambda item: -sum(item[1]))
    ]
    total = sum(sum(seconds) for seconds in jobs.values())
    rows.append(["all", str(sum(map(len, jobs.values()))), f"{total / 60:.1f}"])
    note = "Of a job that was stopped and resumed, only the time after its last start is counted."
    return Table("CPU time", ["stage", "jobs", "CPU minutes"], rows, notes=[note])


class _Folder:
    """Where figures and tables go, and how the page refers to them."""

    def __init__(self, page: Path, name: str) -> None:
        self._folder, self._name = page.parent / name, name

    def add(self, source: Path, name: str) -> str:
        """Copy a file; returns its address relative to the page."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with atomic(self._folder / name) as temporary:
            shutil.copyfile(source, temporary)
        return f"{self._name}/{name}"

    def figure(self, svg: Path, name: str, title: str, caption: str) -> str:
        """The PNG beside an SVG, shown with its caption."""
        return f"![{title}]({self.add(svg.with_suffix('.png'), f'{name}.png')})\n\n*{title}. {caption}*"


def _molecule(molecule: MoleculeSummary, part: MoleculesPart, folder: _Folder) -> list[str]:
    limits = cautions(molecule, part.duration_ps, part.temperature_K, per_seed=part.per_seed)
    return [
        f"## {molecule.name}",
        f"**{headline(molecule)}**",
        answer(molecule, part.changes),
        *(
            folder.figure(molecule.figures[name], f"{molecule.name}_{name}", item.title, item.caption)
            for name, item in MOLECULE_FIGURES.items()
            if name in SHOWN_OF_MOLECULES and name in molecule.figures
        ),
        "\n".join(f"- {sentence}" for sentence in limits),
    ]


def _model(model: ModelSummary, folder: _Folder) -> list[str]:
    return [
        f"## {model.name}",
        f"**{liquid_summary.headline(model)}**",
        liquid_summary.answer(model),
        *(
            folder.figure(
                model.figures[name], f"{model.name}_{name}", MODEL_FIGURES[name].title, MODEL_FIGURES[name].caption
            )
            for name in liquid_summary.names_of_figures(model)
            if name in SHOWN_OF_MODELS
        ),
        "\n".join(f"- {sentence}" for sentence in liquid_summary.cautions(model)),
        *map(markdown_table, liquid_summary.tables(model)),
    ]


def publish(
    page: Path,
    molecules: MoleculesPart | None,
    models: Sequence[ModelSummary],
    tables: Sequence[Path],
    *,
    study: str,
    commands: Sequence[str],
    versions: Mapping[str, str],
    times: Table,
) -> None:
    """Write the page, and copy figures and tables to the folder of its name beside it.

    Args:
        page: the Markdown file.
        molecules: what `physembed.report.collected.molecules_part` makes of the study; None without molecules.
        models: from `physembed.report.collected.model_summaries`.
        tables: CSV files that go with it.
        study: name of the study.
        commands: those that make the study and this page.
        versions: of the packages with which the study was made.
        times: from `cpu_times`.

    Raises:
        PhysEmbedError: a figure or table of the study is missing.
    """
    folder = _Folder(page, page.stem)
    try:
        parts = [
            f"# Results of the study `{study}`",
            "Written by the last of these commands from the results of the first; change nothing here by hand.",
            "```\n" + "\n".join(commands) + "\n```",
        ]
        if molecules:
            for molecule in molecules.molecules:
                parts += _molecule(molecule, molecules, folder)
            parts += ["## Tables of the molecules", *map(markdown_table, molecule_tables(molecules))]
        for model in models:
            parts += _model(model, folder)
        links = [f"[{path.name}]({folder.add(path, path.name)})" for path in tables]
    except FileNotFoundError as error:
        raise PhysEmbedError(f"{study}: {error.filename} is missing; run the study to its end first") from error
    parts += [f"Tables as CSV: {', '.join(links)}."] if links else []
    known = [f"{name} {versions[name]}" for name in PACKAGES if name in versions]
    parts += ["## Cost and versions", markdown_table(times), f"Versions: {', '.join(known)}."]
    with atomic(page) as temporary:
        temporary.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
