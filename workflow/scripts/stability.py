"""One model and the start frames -> which replicas hold, and how the others end."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that the output of these packages goes to the log.
    import ase.io
    import torch

    from physembed.collapse.detector import CollapseDetector, SampledRanges
    from physembed.collapse.rearrangements import Rearrangements
    from physembed.config import Stability
    from physembed.engine.device import resolve_device
    from physembed.engine.mace import load_isolated
    from physembed.md.clock import Clock
    from physembed.md.cohorts import StabilityCohorts
    from physembed.molecules.bonds import equilibrium_length_matrix, read_bond_table
    from physembed.restart import restart_folder
    from physembed.tables import read_table

    torch.set_num_threads(snakemake.threads)
    values = snakemake.params.settings
    settings = Stability(**values["stability"])
    # Cohorts are named by their starts, so adding starts does not affect existing cohorts.
    restart = restart_folder(snakemake, starts=None)
    device = resolve_device(settings.device)
    starts, bonds = ase.io.read(snakemake.input.starts, ":"), read_bond_table(snakemake.input.bonds)
    lengths = equilibrium_length_matrix(bonds, starts[0].numbers)
    means = read_table(snakemake.input.bond_lengths)["mean_A"].to_numpy()
    limits = settings.bond_tolerance_A, settings.overlap_margin_A
    detector = CollapseDetector(bonds, means, lengths, *limits, device=device)
    model = load_isolated(snakemake.input.model, device, settings.dtype)
    sampled = [snakemake.input.ranges, snakemake.input.angle_ranges]
    ranges = SampledRanges(*map(read_table, sampled)) if all(sampled) else None
    changes = Rearrangements(bonds, starts[0].numbers, lengths)
    runs = StabilityCohorts(
        model, starts, detector, ranges, changes, settings,
        seed=values["seed"], restart=restart, clock=Clock.of(snakemake.config),
    )  # fmt: skip
    runs.run()
    runs.write(snakemake.output.replicas, snakemake.output.thermo, snakemake.output.trajectories)
