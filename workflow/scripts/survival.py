"""Replicas of all arms and seeds -> survival curves, collapse fractions and their comparison."""

from physembed.analysis import survival
from physembed.gathered import read_by_arm_and_seed
from physembed.stage import stage

with stage(snakemake):
    settings, output = snakemake.params.settings, snakemake.output
    runs = read_by_arm_and_seed(snakemake.input.replicas, settings["arms"], settings["seeds"])
    runs.to_csv(output.replicas, index=False)
    survival.survival_curves(runs).to_csv(output.curves, index=False)
    fractions = survival.collapse_fractions(runs).merge(survival.rearranged_runs(runs), on=["arm", "seed"])
    fractions.to_csv(output.fractions, index=False)
    survival.compare_arms(runs, settings["comparisons"]).to_csv(output.comparison, index=False)
    survival.collapse_causes(runs).to_csv(output.causes, index=False)
    survival.restricted_mean_times(runs).to_csv(output.mean_times, index=False)
