"""Volumes of the NPT runs of a liquid -> its density."""

from physembed.analysis.liquid_density import density_table
from physembed.stage import stage
from physembed.tables import read_table

with stage(snakemake):
    series, runs = read_table(snakemake.input.series), read_table(snakemake.input.runs)
    density_table(series, runs, snakemake.params.settings["window_ps"]).to_csv(snakemake.output.density, index=False)
