"""A model and a box of the tuning liquid -> NPT runs at points of alpha and a1."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that what these packages print on their way goes to the log.
    import ase.io
    import torch

    from physembed.config.liquids import NPT
    from physembed.engine.parts import models_of_points
    from physembed.md.clock import Clock
    from physembed.md.scan import Scan
    from physembed.molecules.bonds import read_bond_table
    from physembed.provenance import restart_folder

    torch.set_num_threads(snakemake.threads)
    values, source = snakemake.params.settings, snakemake.input
    conditions = {key: values[key] for key in ("temperature_K", "pressure_bar", "seed")}
    settings = NPT(**values["npt"], duration_ps=values["duration_ps"])
    # Neither the points nor their length belong to the key: what is there serves a larger or longer scan.
    lasting = settings.model_dump(exclude={"duration_ps"})
    restart = restart_folder(
        snakemake.params.restart,
        settings=[lasting, values["convention"], conditions],
        code=snakemake.params.code,
        inputs=list(source),
    )
    scan = Scan(
        models_of_points(source.model, settings.device, settings.dtype, values["convention"]),
        ase.io.read(source.starts, -1),
        read_bond_table(source.bonds)[["i", "j"]].to_numpy(),
        settings,
        restart=restart,
        clock=Clock.of(snakemake.config),
        **conditions,
    )
    series, runs = scan.direct(**values["direct"]) if "direct" in values else scan.reweighted(**values["reweighted"])
    series.to_csv(snakemake.output.series, index=False)
    runs.to_csv(snakemake.output.runs, index=False)
