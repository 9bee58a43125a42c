"""A model and a box of the tuning liquid -> NPT runs at points of alpha and a1."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that the output of these packages goes to the log.
    import ase.io
    import torch

    from physembed.config.liquids import NPT
    from physembed.engine.parts import models_of_points
    from physembed.md.clock import Clock
    from physembed.md.scan import Scan
    from physembed.molecules.bonds import read_bond_table
    from physembed.restart import restart_folder

    torch.set_num_threads(snakemake.threads)
    values, source = snakemake.params.settings, snakemake.input
    conditions = {key: values[key] for key in ("temperature_K", "pressure_bar", "seed")}
    points, model = values["scan"], values["model"]
    settings = NPT(**values["npt"], duration_ps=points["duration_ps"])
    scan = Scan(
        models_of_points(source.model, settings.device, settings.dtype, model["convention"], sums=True),
        ase.io.read(source.starts, -1),
        read_bond_table(source.bonds)[["i", "j"]].to_numpy(),
        settings,
        restart=restart_folder(snakemake),
        clock=Clock.of(snakemake.config),
        **conditions,
    )
    if points["method"] == "direct":
        series, runs = scan.direct(model["alphas"], points["a1"])
    else:
        series, runs = scan.reweighted(
            model["alphas"],
            start_a1=points["start_a1"],
            a1_range=model["a1_range"],
            target_g_cm3=values["extends"]["target_g_cm3"],
            max_runs=points["max_runs"],
            minimum_effective_samples=points["minimum_effective_samples"],
        )
    series.to_csv(snakemake.output.series, index=False)
    runs.to_csv(snakemake.output.runs, index=False)
