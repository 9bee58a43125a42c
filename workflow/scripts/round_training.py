"""Labelled frames of a round -> a MACE model and its curve; those of the round before if it has the same frames."""

from physembed.stage import stage

with stage(snakemake) as log:
    # Imported here, so that the output of these packages goes to the log.
    import shutil

    import torch

    from physembed.config import Training
    from physembed.provenance import file_hash
    from physembed.restart import restart_folder
    from physembed.training.trainer import train

    torch.set_num_threads(snakemake.threads)
    settings, paths, output = snakemake.params.settings, snakemake.input, snakemake.output
    if file_hash(paths.train) == file_hash(paths.train_before):
        log.info("the training set is that of %s: so is the model", paths.model_before)
        shutil.copyfile(paths.model_before, output.model)
        shutil.copyfile(paths.curve_before, output.curve)
        snakemake.found = {"copy_of": paths.model_before}
    else:
        curve = train(
            Training(**settings["training"]),
            paths.train,
            paths.validation,
            seed=settings["seed"],
            base=paths.base or None,
            by_element=settings.get("by_element", False),
            restart=restart_folder(snakemake, train_before=None, model_before=None, curve_before=None),
            model_file=output.model,
        )
        curve.to_csv(output.curve, index=False)
