"""Runs of the scan -> the density of each, a1 at each alpha with its confidence interval, and their curve."""

import ase.io
import pandas as pd

from physembed.analysis.liquid_density import with_densities
from physembed.analysis.tuning import tune
from physembed.stage import stage
from physembed.tables import read_table

with stage(snakemake):
    settings = dict(snakemake.params.settings)
    about = {name: settings.pop(name) for name in ("convention", "tuned_on")}
    mass = ase.io.read(snakemake.input.starts, 0).get_masses().sum()
    series = pd.read_csv(snakemake.input.series)
    runs = with_densities(read_table(snakemake.input.runs), series, by="run")
    runs.to_csv(snakemake.output.runs, index=False)
    tuning, curve = tune(series, runs, mass_u=mass, **settings)
    tuning.assign(**about).to_csv(snakemake.output.tuning, index=False)
    curve.to_csv(snakemake.output.curve, index=False)
