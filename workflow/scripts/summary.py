"""Figures and tables -> the summary of the study, one HTML page, and the same without figures."""

from pathlib import Path

from physembed.provenance import package_versions
from physembed.report.reading import by_molecule, read_table
from physembed.report.summary import MoleculeSummary, write_summary
from physembed.stage import stage

with stage(snakemake):
    settings, paths, output = snakemake.params.settings, snakemake.input, snakemake.output
    names = settings["molecules"]
    fractions, comparisons, figures = (
        by_molecule(files, names) for files in (paths.fractions, paths.comparisons, paths.figures)
    )
    molecules = [
        MoleculeSummary(
            name,
            fractions=read_table(*fractions[name]),
            comparison=read_table(*comparisons[name]),
            figures={Path(path).stem: Path(path) for path in figures[name]},
        )
        for name in names
    ]
    for path, with_figures in ((output.html, True), (output.overview, False)):
        write_summary(
            path,
            molecules,
            with_figures=with_figures,
            study=snakemake.wildcards.study,
            stability=read_table(paths.stability),
            model_errors=read_table(paths.model_errors),
            ledger=read_table(paths.labels),
            duration_ps=settings["config"]["stability"]["duration_ps"],
            temperature_K=settings["config"]["stability"]["temperature_K"],
            settings=settings["config"],
            versions=package_versions(),
        )
