"""A model, corrected or not, and a box of a liquid -> NPT runs of it."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that the output of these packages goes to the log.
    import ase.io
    import torch

    from physembed.analysis.density import known_within
    from physembed.config.liquids import NPT
    from physembed.engine.parts import models_of_points
    from physembed.liquids.correction import read_correction
    from physembed.md.clock import Clock
    from physembed.md.npt import NPTPoint, NPTRuns
    from physembed.molecules.bonds import read_bond_table
    from physembed.restart import restart_folder
    from physembed.trajectory import write_trajectory

    torch.set_num_threads(snakemake.threads)
    values, source, output = snakemake.params.settings, snakemake.input, snakemake.output
    settings = NPT(**values["npt"])
    conditions = values["temperature_K"], values["pressure_bar"]
    correction = read_correction(source.get("tuning"))
    restart = restart_folder(snakemake, tuning=correction)
    points = [NPTPoint(str(replica), *correction, *conditions) for replica in range(settings.replicas)]
    wanted = settings.standard_error_g_cm3
    runs = NPTRuns(
        models_of_points(source.model, settings.device, settings.dtype, values["convention"]),
        points,
        [ase.io.read(source.starts, -1)] * len(points),
        settings,
        seed=values["seed"],
        restart=restart,
        bonds=read_bond_table(source.bonds)[["i", "j"]].to_numpy(),
        clock=Clock.of(snakemake.config),
        precise=known_within(wanted * len(points) ** 0.5) if wanted else None,
    )
    runs.run()
    runs.series().rename(columns={"run": "replica"}).to_csv(output.series, index=False)
    runs.runs().rename(columns={"run": "replica"}).to_csv(output.runs, index=False)
    write_trajectory(output.trajectory, [frame for point in points for frame in runs.trajectory(point.label)])
