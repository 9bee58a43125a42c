"""Training curve of a model of liquids -> its figure as SVG and PNG."""

from pathlib import Path

from physembed.report.scan_figures import liquid_training
from physembed.report.style import save
from physembed.stage import stage
from physembed.tables import read_table

with stage(snakemake):
    save(liquid_training(read_table(snakemake.input.curve)), Path(snakemake.output.svg).with_suffix(""))
