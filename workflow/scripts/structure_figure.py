"""Radial and angular distributions of a liquid -> their figure as SVG and PNG."""

from pathlib import Path

from physembed.report.liquid_figures import structure
from physembed.report.reading import read_table
from physembed.report.style import save
from physembed.stage import stage

with stage(snakemake):
    figure = structure(read_table(snakemake.input.rdf), read_table(snakemake.input.adf))
    save(figure, Path(snakemake.output.svg).with_suffix(""))
