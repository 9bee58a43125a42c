"""Frames with labels of the force field -> a MACE model and its training curve."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that what these packages print on their way goes to the log.
    import torch

    from physembed.config import Training
    from physembed.restart import restart_folder
    from physembed.training.trainer import train

    torch.set_num_threads(snakemake.threads)
    settings, paths = snakemake.params.settings, snakemake.input
    curve = train(
        Training(**settings["training"]),
        paths.train,
        paths.validation,
        seed=settings["seed"],
        restart=restart_folder(snakemake),
        model_file=snakemake.output.model,
    )
    curve.to_csv(snakemake.output.curve, index=False)
