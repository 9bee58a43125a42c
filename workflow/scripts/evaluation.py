"""Models of an arm and labelled frames -> errors by frame and forces by atom."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that what these packages print on their way goes to the log.
    import ase.io
    import pandas as pd
    import torch

    from physembed.engine.mace import load_isolated
    from physembed.models.evaluation import evaluate, numbered_through

    torch.set_num_threads(snakemake.threads)
    settings = snakemake.params.settings
    models = iter(snakemake.input.models)
    data_sets = zip(snakemake.input.train, snakemake.input.validation, snakemake.input.ranges, strict=True)
    parts = []
    for seeds, (train, validation, ranges) in zip(settings["seeds"], data_sets, strict=True):
        own = {seed: load_isolated(next(models), "cpu", settings["dtype"]) for seed in seeds}
        sets = {"train": ase.io.read(train, ":"), "validation": ase.io.read(validation, ":")}
        parts.append(evaluate(own, sets, pd.read_csv(ranges, keep_default_na=False)))
    frames, forces = numbered_through(parts)
    frames.to_csv(snakemake.output.frames, index=False)
    forces.to_parquet(snakemake.output.forces, index=False)
