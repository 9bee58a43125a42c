"""Volumes of the NPT runs of a liquid -> the density of each replica, and of the liquid."""

from physembed.analysis.liquid_density import density_table, with_densities
from physembed.stage import stage
from physembed.tables import read_table

with stage(snakemake):
    series = read_table(snakemake.input.series)
    replicas = with_densities(read_table(snakemake.input.runs), series, by="replica")
    replicas.to_csv(snakemake.output.replicas, index=False)
    window_ps = snakemake.params.settings["window_ps"]
    density_table(series, replicas, window_ps).to_csv(snakemake.output.density, index=False)
