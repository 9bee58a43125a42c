"""The tables of each molecule -> the tables of the study."""

from physembed.gathered import read_by_arm, read_by_set, split_by
from physembed.report import tables
from physembed.stage import stage
from physembed.tables import read_table

with stage(snakemake):
    settings, paths, output = snakemake.params.settings, snakemake.input, snakemake.output
    molecules, arms = settings["molecules"], settings["arms"]
    fractions = {name: read_table(path) for name, (path,) in split_by(paths.fractions, molecules).items()}
    frames = {name: read_by_arm(group, arms) for name, group in split_by(paths.frames, molecules).items()}
    errors = {name: read_by_arm(group, arms) for name, group in split_by(paths.errors, molecules).items()}
    forces = {name: read_by_arm(group, arms) for name, group in split_by(paths.forces, molecules).items()}
    sets = settings["labelled"]
    ledgers = {name: read_by_set(group, sets) for name, group in split_by(paths.ledgers, molecules).items()}
    conditions = settings["duration_ps"], settings["temperature_K"]
    stability = tables.stability_table(fractions, ledgers, settings["sources"], *conditions)
    stability.to_csv(output.stability, index=False)
    tables.model_error_table(frames, forces).to_csv(output.model_errors, index=False)
    tables.force_metric_table(errors).to_csv(output.force_metrics, index=False)
    tables.ledger_table(ledgers).to_csv(output.labels, index=False)
