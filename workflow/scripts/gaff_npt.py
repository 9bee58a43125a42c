"""A packed box -> its equilibration with GAFF at constant pressure."""

from physembed.config.liquids import GaffNPT
from physembed.liquids.gaff_liquid import GaffLiquidRun
from physembed.molecules.reading import load_topology
from physembed.restart import restart_folder
from physembed.stage import stage
from physembed.trajectory import write_trajectory

with stage(snakemake):
    settings = snakemake.params.settings
    restart = restart_folder(snakemake)
    run = GaffLiquidRun(
        load_topology(snakemake.input.prmtop, snakemake.input.inpcrd),
        GaffNPT(**settings["gaff_npt"]),
        temperature_K=settings["temperature_K"],
        pressure_bar=settings["pressure_bar"],
        seed=settings["seed"],
        restart=restart,
        threads=snakemake.threads,
    )
    write_trajectory(snakemake.output.trajectory, run.run())
    run.series().to_csv(snakemake.output.series, index=False)
