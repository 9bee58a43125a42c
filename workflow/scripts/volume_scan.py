"""Frames of the tuning liquid, scaled rigidly -> energy and forces with the model, corrected, and by labels."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that the output of these packages goes to the log.
    import ase
    import ase.io
    import torch

    from physembed.analysis.volume_scan import scan_points, volume_scan
    from physembed.config import Labels
    from physembed.engine.liquid_model import evaluator, load_liquid
    from physembed.labels.labelling import label_frames
    from physembed.liquids.correction import read_correction
    from physembed.trajectory import spread

    torch.set_num_threads(snakemake.threads)
    settings, source = snakemake.params.settings, snakemake.input
    frames = ase.io.read(source.frames, ":")
    later = frames[len(frames) // 2 :]
    points = scan_points(spread(later, min(settings["volume_scan_frames"], len(later))), settings["volume_scan_scales"])
    alpha, a1 = read_correction(source.tuning)
    how = settings["device"], settings["dtype"]
    model = load_liquid(source.model, *how, convention=settings["convention"], alpha=alpha, a1=a1)
    variants = {"uncorrected": evaluator(model.with_parameters(0.0, 0.0)), "corrected": evaluator(model)}
    labelled: list[ase.Atoms] = []
    if settings["volume_scan_labels"]:
        labels = Labels(**settings["labels"])
        labelled, _ = label_frames(
            points, labels, charge=0, bonds=None, workers=snakemake.threads, restart_dir=snakemake.params.restart
        )
    volume_scan(points, variants, labelled).to_csv(snakemake.output.scan, index=False)
