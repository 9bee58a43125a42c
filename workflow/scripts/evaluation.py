"""Models of an arm and labelled frames -> errors by frame and forces by atom."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that the output of these packages goes to the log.
    import ase.io
    import torch

    from physembed.engine.mace import load_isolated
    from physembed.models.evaluation import evaluate, numbered_through
    from physembed.tables import read_table

    torch.set_num_threads(snakemake.threads)
    settings, paths = snakemake.params.settings, snakemake.input
    models = iter(paths.models)
    of_arm = (paths.train, paths.ranges, paths.angle_ranges) if settings["trained"] else ()
    parts = []
    for seeds, validation, *own in zip(settings["seeds"], paths.validation, *of_arm, strict=True):
        loaded = {seed: load_isolated(next(models), "cpu", settings["dtype"]) for seed in seeds}
        train, *ranges = own or [None]
        sets = {"train": train, "validation": validation} if train else {"validation": validation}
        labelled = {name: ase.io.read(path, ":") for name, path in sets.items()}
        parts.append(evaluate(loaded, labelled, *map(read_table, ranges)))
    frames, forces = numbered_through(parts)
    frames.to_csv(snakemake.output.frames, index=False)
    forces.to_parquet(snakemake.output.forces, index=False)
