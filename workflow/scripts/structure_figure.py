"""Radial and angular distributions of a liquid -> their figure as SVG and PNG."""

from pathlib import Path

from physembed.report.liquid_figures import structure
from physembed.report.style import save
from physembed.stage import stage
from physembed.tables import read_table

with stage(snakemake):
    figure = structure(read_table(snakemake.input.rdf), read_table(snakemake.input.adf))
    save(figure, Path(snakemake.output.svg).with_suffix(""))
