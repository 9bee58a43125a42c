"""Runs of the scan -> a1 at each alpha, with its confidence interval, and the curve through the runs."""

import ase.io
import pandas as pd

from physembed.analysis.tuning import tune
from physembed.stage import stage
from physembed.tables import read_table

with stage(snakemake):
    settings = dict(snakemake.params.settings)
    about = {name: settings.pop(name) for name in ("convention", "tuned_on", "seed") if name in settings}
    mass = ase.io.read(snakemake.input.starts, 0).get_masses().sum()
    tuning, curve = tune(pd.read_csv(snakemake.input.series), read_table(snakemake.input.runs), mass_u=mass, **settings)
    tuning.assign(**about).to_csv(snakemake.output.tuning, index=False)
    curve.to_csv(snakemake.output.curve, index=False)
