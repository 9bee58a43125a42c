"""Forces of the models of an arm, and its runs -> fine-grained errors, and where the runs go."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that what these packages print on their way goes to the log.
    import ase.io
    import pandas as pd
    import torch

    from physembed.analysis.conformations import Conformations, Features
    from physembed.analysis.explored import explored
    from physembed.analysis.force_metrics import metric_tables
    from physembed.engine.mace import load_isolated
    from physembed.molecules.bonds import read_bond_table
    from physembed.tables import read_table
    from physembed.trajectory import read_runs

    torch.set_num_threads(snakemake.threads)
    settings, paths, output = snakemake.params.settings, snakemake.input, snakemake.output
    conformations, bonds = Conformations.read(paths.conformations), read_bond_table(paths.bonds)
    labelled = {name: [ase.io.read(path, ":") for path in paths[name]] for name in ("train", "validation")}
    features = Features(labelled["validation"][0][0].numbers, bonds)
    clusters = {
        name: conformations.nearest(features([frame for part in parts for frame in part]))[0]
        for name, parts in labelled.items() if parts
    }  # fmt: skip
    metric_tables(read_table(paths.forces), clusters).to_csv(output.errors, index=False)
    seeds = [(number, seed) for number, group in enumerate(settings["seeds"]) for seed in group]
    rows, maps = [], []
    for (number, seed), folder, model in zip(seeds, paths.trajectories, paths.models, strict=True):
        train = labelled["train"][number] if labelled["train"] else []
        runs = [frame for run in read_runs(folder).values() for frame in run if "collapsed" not in frame.info]
        loaded = load_isolated(model, "cpu", settings["dtype"])
        row, of_map = explored(conformations, features, train, runs, loaded)
        rows.append({"seed": seed} | row)
        maps.append(of_map.assign(seed=seed))
    pd.DataFrame(rows).to_csv(output.explored, index=False)
    pd.concat(maps, ignore_index=True).to_csv(output.map, index=False)
