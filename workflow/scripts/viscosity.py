"""Pressure of the replicas of a liquid -> its viscosity and the running Green-Kubo integral."""

import numpy as np

from physembed.analysis.viscosity_table import viscosity_table
from physembed.stage import stage

with stage(snakemake):
    with np.load(snakemake.input.pressure) as saved:
        table, running = viscosity_table(
            saved["pressure_tensor"],
            float(saved["block_fs"]),
            saved["volume_A3"],
            float(saved["temperature_K"]),
            snakemake.params.settings["relative_error"],
        )
    table.to_csv(snakemake.output.viscosity, index=False)
    running.to_csv(snakemake.output.running, index=False)
