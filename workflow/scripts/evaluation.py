"""Models of an arm and labelled frames -> errors by frame and forces by atom."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that what these packages print on their way goes to the log.
    import ase.io
    import pandas as pd
    import torch

    from physembed.engine.mace import load_isolated
    from physembed.models.evaluation import evaluate

    torch.set_num_threads(snakemake.threads)
    settings = snakemake.params.settings
    models = {
        seed: load_isolated(path, "cpu", settings["dtype"])
        for seed, path in zip(settings["seeds"], snakemake.input.models, strict=True)
    }
    sets = {name: ase.io.read(snakemake.input[name], ":") for name in ("train", "validation")}
    frames, forces = evaluate(models, sets, pd.read_csv(snakemake.input.ranges, keep_default_na=False))
    frames.to_csv(snakemake.output.frames, index=False)
    forces.to_parquet(snakemake.output.forces, index=False)
