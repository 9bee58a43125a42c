"""Replicas of all arms and seeds -> survival curves, collapse fractions and their comparison."""

import itertools

import pandas as pd

from physembed.analysis import survival
from physembed.stage import stage

with stage(snakemake):
    settings, output = snakemake.params.settings, snakemake.output
    tables = []
    for (arm, seed), path in zip(
        itertools.product(settings["arms"], settings["seeds"]), snakemake.input.replicas, strict=True
    ):
        tables.append(pd.read_csv(path, keep_default_na=False, na_values={"length_A": "", "reference_A": ""}))
        tables[-1].insert(0, "seed", seed)
        tables[-1].insert(0, "arm", arm)
    runs = pd.concat(tables, ignore_index=True)
    runs.to_csv(output.replicas, index=False)
    survival.survival_curves(runs).to_csv(output.curves, index=False)
    survival.collapse_fractions(runs).to_csv(output.fractions, index=False)
    survival.compare_arms(runs).to_csv(output.comparison, index=False)
    survival.collapse_causes(runs).to_csv(output.causes, index=False)
    survival.restricted_mean_times(runs).to_csv(output.mean_times, index=False)
