"""Figures and tables -> the summary of the study, one HTML page."""

from pathlib import Path

from physembed.provenance import package_versions
from physembed.report.reading import by_molecule, read_table
from physembed.report.summary import MoleculeSummary, write_summary
from physembed.stage import stage

with stage(snakemake):
    settings, paths = snakemake.params.settings, snakemake.input
    molecules = settings["molecules"]
    fractions, comparisons, figures = (
        by_molecule(files, molecules) for files in (paths.fractions, paths.comparisons, paths.figures)
    )
    write_summary(
        snakemake.output.html,
        [
            MoleculeSummary(
                name,
                fractions=read_table(*fractions[name]),
                comparison=read_table(*comparisons[name]),
                figures={Path(path).stem: Path(path) for path in figures[name]},
            )
            for name in molecules
        ],
        study=snakemake.wildcards.study,
        stability=read_table(paths.stability),
        model_errors=read_table(paths.model_errors),
        ledger=read_table(paths.labels),
        duration_ps=settings["config"]["stability"]["duration_ps"],
        temperature_K=settings["config"]["stability"]["temperature_K"],
        settings=settings["config"],
        versions=package_versions(),
    )
