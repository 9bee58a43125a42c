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
    data_sets = zip(paths.train, paths.validation, paths.ranges, paths.angle_ranges, strict=True)
    parts = []
    for seeds, (train, validation, *ranges) in zip(settings["seeds"], data_sets, strict=True):
        own = {seed: load_isolated(next(models), "cpu", settings["dtype"]) for seed in seeds}
        sets = {"train": ase.io.read(train, ":"), "validation": ase.io.read(validation, ":")}
        parts.append(evaluate(own, sets, *map(read_table, ranges)))
    frames, forces = numbered_through(parts)
    frames.to_csv(snakemake.output.frames, index=False)
    forces.to_parquet(snakemake.output.forces, index=False)
