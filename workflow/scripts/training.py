"""Labelled frames, and the model to begin with if there is one -> a MACE model and its training curve."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that the output of these packages goes to the log.
    import torch

    from physembed.config import Training
    from physembed.restart import restart_folder
    from physembed.training.trainer import train

    torch.set_num_threads(snakemake.threads)
    settings = snakemake.params.settings
    restart = restart_folder(snakemake)
    curve = train(
        Training(**settings["training"]),
        snakemake.input.train,
        snakemake.input.validation,
        seed=settings["seed"],
        base=snakemake.input.base or None,
        by_element=settings.get("by_element", False),
        restart=restart,
        model_file=snakemake.output.model,
    )
    curve.to_csv(snakemake.output.curve, index=False)
