"""Labelled frames -> the same with weights that follow from clusters of conformations, and from errors of a model."""

from physembed.stage import stage

with stage(snakemake) as log:
    # Imported here, so that what these packages print on their way goes to the log.
    import ase.io
    import numpy as np
    import torch

    from physembed.analysis.conformations import Conformations, Features
    from physembed.analysis.frame_weights import by_bad_points, by_clusters
    from physembed.engine.mace import load_isolated
    from physembed.models.evaluation import predict
    from physembed.molecules.bonds import read_bond_table
    from physembed.trajectory import write_trajectory

    torch.set_num_threads(snakemake.threads)
    settings, paths = snakemake.params.settings, snakemake.input
    frames = ase.io.read(paths.labels, ":")
    features = Features(frames[0].numbers, read_bond_table(paths.bonds))(frames)
    clusters, _ = Conformations.read(paths.conformations).nearest(features)
    if settings["weighting"] == "clusters":
        weights = by_clusters(clusters)
    else:
        labels = np.array([frame.arrays["REF_forces"] for frame in frames])
        forces = np.array(predict(load_isolated(paths.model, "cpu", settings["dtype"]), frames)[1])
        weights = by_bad_points(clusters, np.abs(forces - labels).mean(axis=(1, 2)))
    for frame, cluster, weight in zip(frames, clusters.tolist(), weights.tolist(), strict=True):
        frame.info |= {"cluster": cluster, "config_weight": weight}
    log.info("weights by cluster: %s", {frame.info["cluster"]: frame.info["config_weight"] for frame in frames})
    write_trajectory(snakemake.output.frames, frames)
