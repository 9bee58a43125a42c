"""The corrected model and frames of its tuning liquid -> a certificate that all engines agree."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that the output of these packages goes to the log.
    from pathlib import Path

    import ase.io
    import torch

    from physembed.export.certificate import check, markdown
    from physembed.export.conditions import Conditions
    from physembed.trajectory import spread

    torch.set_num_threads(snakemake.threads)
    settings, source, output = snakemake.params.settings, snakemake.input, snakemake.output
    table = check(
        source.model,
        spread(ase.io.read(source.frames, ":"), 3)[::-1],
        Conditions(
            temperature_K=settings["temperature_K"],
            pressure_bar=settings["pressure_bar"],
            timestep_fs=settings["timestep_fs"],
            seed=settings["seed"],
        ),
        nve_ps=settings["nve_ps"],
        npt_ps=settings["npt_ps"],
        device=settings["device"],
    )
    table.to_csv(output.table, index=False)
    Path(output.page).write_text(markdown(table, snakemake.wildcards.model), encoding="utf-8")
