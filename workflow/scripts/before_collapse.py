"""Runs that collapsed, and their models -> errors of the forces along their last frames, against xTB."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that what these packages print on their way goes to the log.
    import pandas as pd
    import torch

    from physembed.analysis.explored import COLUMNS, before_collapse
    from physembed.config import Labels
    from physembed.engine.mace import load_isolated
    from physembed.molecules.reading import load_topology
    from physembed.molecules.topology import total_charge
    from physembed.tables import read_table
    from physembed.trajectory import read_runs

    torch.set_num_threads(snakemake.threads)
    settings, paths = snakemake.params.settings, snakemake.input
    charge = total_charge(load_topology(paths.prmtop, paths.inpcrd))
    labels, tables = Labels(**settings["labels"]), []
    runs = zip(settings["seeds"], paths.trajectories, paths.models, paths.replicas, strict=True)
    for seed, folder, model, replicas in runs:
        collapsed = read_table(replicas).query("collapsed and cause != 'non_finite'").head(settings["collapses"])
        loaded, trajectories = load_isolated(model, "cpu", settings["dtype"]), read_runs(folder)
        for replica, types in zip(collapsed["replica"], collapsed["types"], strict=True):
            ends = trajectories[replica][-settings["frames_before"] - 1 :]
            table = before_collapse(ends, loaded, labels, charge, settings["multiplicity"])
            tables.append(table.assign(seed=seed, replica=replica, types=types))
    found = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)
    found[COLUMNS].to_csv(snakemake.output.table, index=False)
