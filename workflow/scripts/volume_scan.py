"""Frames of the tuning liquid, scaled rigidly -> energy and forces with the model, corrected, and by labels."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that what these packages print on their way goes to the log.
    import ase.io
    import torch

    from physembed.analysis.volume_scan import scan_points, volume_scan
    from physembed.config import Labels
    from physembed.labels.labelling import label_frames
    from physembed.models.liquid import evaluator, models_of_points
    from physembed.report.reading import read_correction
    from physembed.trajectory import spread

    torch.set_num_threads(snakemake.threads)
    settings, source = snakemake.params.settings, snakemake.input
    frames = ase.io.read(source.frames, ":")
    later = frames[len(frames) // 2 :]
    points = scan_points(spread(later, min(settings["volume_scan_frames"], len(later))), settings["volume_scan_scales"])
    make_model = models_of_points(source.model, settings["device"], settings["dtype"], settings["convention"])
    variants = {
        "uncorrected": evaluator(make_model([read_correction(None)])),
        "corrected": evaluator(make_model([read_correction(source.tuning)])),
    }
    labelled = []
    if settings["volume_scan_labels"]:
        labels = Labels(**settings["labels"])
        labelled, _ = label_frames(
            points, labels, charge=0, bonds=None, workers=snakemake.threads, restart_dir=snakemake.params.restart
        )
    volume_scan(points, variants, labelled).to_csv(snakemake.output.scan, index=False)
