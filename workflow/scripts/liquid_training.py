"""Labelled frames of liquids -> a MACE model and its training curve."""

from physembed.stage import stage

with stage(snakemake) as log:
    # Imported here, so that the output of these packages goes to the log.
    import torch

    from physembed.config.liquids import LiquidTraining
    from physembed.restart import restart_folder
    from physembed.training.data import read_labelled
    from physembed.training.data_check import Keys, check_training_data
    from physembed.training.trainer import split, train
    from physembed.trajectory import write_trajectory

    torch.set_num_threads(snakemake.threads)
    settings, output = snakemake.params.settings, snakemake.output
    training = LiquidTraining(**settings["training"])
    names, key = Keys(**settings["keys"] or {}), f"models.{snakemake.wildcards.model}.data"
    for file in snakemake.input.frames if settings["keys"] else ():
        for doubt in check_training_data(key, file, None, {}, stress=training.stress_weight > 0, keys=names):
            log.warning("%s", doubt)
    frames = [frame for file in snakemake.input.frames for frame in read_labelled(file, names)]
    parts = split(frames, training.validation_fraction, training.seed)
    for file, part in zip((output.train, output.validation), parts, strict=True):
        write_trajectory(file, part)
    restart = restart_folder(snakemake)
    curve = train(
        training, output.train, output.validation, seed=training.seed, restart=restart, model_file=output.model
    )
    curve.to_csv(output.curve, index=False)
