"""Figures and tables -> the summary of the study, one HTML page, and the same without figures."""

from physembed.provenance import package_versions
from physembed.report.collected import model_summaries, molecules_part
from physembed.report.summary import write_summary
from physembed.stage import stage

with stage(snakemake):
    settings, source, output = snakemake.params.settings, dict(snakemake.input.items()), snakemake.output
    molecules = molecules_part(source, settings["molecules"], settings["config"])
    models = model_summaries(source, settings["models"], settings["liquids"])
    for path, with_figures in ((output.html, True), (output.overview, False)):
        write_summary(
            path,
            molecules,
            models,
            with_figures=with_figures,
            study=snakemake.wildcards.study,
            settings=settings["config"],
            versions=package_versions(),
        )
