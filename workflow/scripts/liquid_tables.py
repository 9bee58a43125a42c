"""Densities, viscosities and tunings of all models -> the tables of the study, with the paper's beside them."""

import pandas as pd

from physembed.gathered import read_by_liquid
from physembed.report.liquid_tables import (
    LiquidFacts,
    density_table,
    mean_absolute_errors,
    tuning_table,
    viscosity_table,
)
from physembed.stage import stage
from physembed.tables import read_table

with stage(snakemake):
    settings, source, output = snakemake.params.settings, snakemake.input, snakemake.output
    liquids = [LiquidFacts(**facts) for facts in settings["liquids"]]
    runs = read_by_liquid(source.densities, settings["models"])
    densities = density_table(runs, liquids, settings["tuned_on"])
    viscous = read_by_liquid(source.viscosities, settings["viscous"])
    viscosities = viscosity_table(viscous, liquids, settings["tuned_on"])
    tunings = dict(zip(settings["models"], map(read_table, source.tunings), strict=True))
    densities.to_csv(output.densities, index=False)
    viscosities.to_csv(output.viscosities, index=False)
    errors = pd.concat([mean_absolute_errors(table) for table in (densities, viscosities)])
    errors.to_csv(output.liquid_errors, index=False)
    tuning_table(tunings, runs).to_csv(output.tuning, index=False)
