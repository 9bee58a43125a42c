"""A model trained so far, and reference frames of a liquid -> frames of its own MD, to be labelled."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that the output of these packages goes to the log.
    import ase.io
    import torch

    from physembed.config.liquids import NPT, Reference
    from physembed.engine.parts import models_of_points
    from physembed.learning.liquid_rounds import LiquidRound, starts_of
    from physembed.md.clock import Clock
    from physembed.molecules.bonds import read_bond_table, write_bond_table
    from physembed.restart import restart_folder
    from physembed.trajectory import write_trajectory

    torch.set_num_threads(snakemake.threads)
    values, source, output = snakemake.params.settings, snakemake.input, snakemake.output
    settings, npt, bonds = Reference(**values["reference"]), NPT(**values["npt"]), read_bond_table(source.bonds)
    run = LiquidRound(
        models_of_points(source.model, npt.device, npt.dtype, "d3"),
        starts_of(ase.io.read(source.frames, ":")),
        bonds,
        settings,
        npt,
        seed=values["seed"],
        restart=restart_folder(snakemake),
        clock=Clock.of(snakemake.config),
    )
    run.run()
    frames, runs = run.chosen(f"{snakemake.wildcards.liquid}~{snakemake.wildcards.round}")
    write_trajectory(output.frames, frames)
    write_bond_table(output.bonds, bonds)
    runs.to_csv(output.runs, index=False)
