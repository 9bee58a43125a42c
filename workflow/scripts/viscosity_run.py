"""NPT frames of a liquid at its mean density -> the pressure tensor of replicas at constant volume."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that the output of these packages goes to the log.
    import ase.io
    import numpy as np
    import torch

    from physembed.config.liquids import Viscosity
    from physembed.engine.parts import models_of_points
    from physembed.files import atomic
    from physembed.liquids.correction import read_correction
    from physembed.liquids.replicas import equilibrated, equilibrated_from
    from physembed.liquids.rigid import at_density
    from physembed.md.clock import Clock
    from physembed.md.pressure import PressureRun
    from physembed.molecules.bonds import read_bond_table
    from physembed.restart import restart_folder
    from physembed.tables import read_table
    from physembed.trajectory import spread

    torch.set_num_threads(snakemake.threads)
    values, source, output = snakemake.params.settings, snakemake.input, snakemake.output
    settings = Viscosity(**values["viscosity"])
    correction = read_correction(source.get("tuning"))
    density = float(read_table(source.density).density_g_cm3.iloc[0])
    begins = equilibrated_from(read_table(source.replicas))
    restart = restart_folder(snakemake, tuning=correction, density=density, replicas=begins)
    frames = equilibrated(ase.io.read(source.trajectory, ":"), begins)
    make_model = models_of_points(source.model, settings.device, settings.dtype, values["convention"])
    run = PressureRun(
        lambda count: make_model([correction] * count),
        # Empty if no replica of the NPT run survived.
        [at_density(frame, density) for frame in spread(frames, settings.replicas)],
        settings,
        temperature_K=values["temperature_K"],
        seed=values["seed"],
        restart=restart,
        bonds=read_bond_table(source.bonds)[["i", "j"]].to_numpy(),
        clock=Clock.of(snakemake.config),
    )
    run.run()
    with atomic(output.pressure) as temporary:
        np.savez(temporary, allow_pickle=False, **run.arrays())
    run.replicas().to_csv(output.runs, index=False)
