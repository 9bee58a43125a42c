"""Models of the round before, as a committee -> hot MD, and the frames to label, those of before among them."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that the output of these packages goes to the log.
    import ase.io
    import torch

    from physembed.config import Stability
    from physembed.config.learning import Learning
    from physembed.learning.hot_md import no_runs, run_hot
    from physembed.learning.rounds import as_values, has_ended, one_round, round_without_runs
    from physembed.learning.widening import Widening
    from physembed.md.clock import Clock
    from physembed.molecules.angles import read_angle_table
    from physembed.molecules.bonds import read_bond_table
    from physembed.restart import restart_folder
    from physembed.tables import read_table
    from physembed.trajectory import write_trajectory

    torch.set_num_threads(snakemake.threads)
    values, paths, output = snakemake.params.settings, snakemake.input, snakemake.output
    settings, seed = Learning(**values["learning"]), values["seed"]
    frames, bonds = ase.io.read(paths.frames, ":"), read_bond_table(paths.bonds)
    if paths.round and has_ended(read_table(paths.round)):
        runs, (records, row) = no_runs(), round_without_runs(frames)
    else:
        starts, validation = ase.io.read(paths.starts, f":{settings.replicas}"), ase.io.read(paths.validation, ":")
        # The MD does not depend on the training set, and its cohorts are named by their starts.
        lengths, hot = read_table(paths.bond_lengths)["mean_A"].to_numpy(), Stability(**values["stability"])
        runs = run_hot(
            paths.models, starts, validation, bonds, lengths, hot, spread_factor=settings.spread_factor, seed=seed,
            restart=restart_folder(snakemake, starts=None, frames=None, round=None, angles=None),
            clock=Clock.of(snakemake.config),
        )  # fmt: skip
        widening = Widening(frames[0].numbers, bonds, read_angle_table(paths.angles), lengths, hot)
        frames, records, row = one_round(runs, frames, widening, settings, seed, snakemake.wildcards.arm)
    snakemake.found = as_values(row)
    runs.write(output.replicas, output.trajectories)
    write_trajectory(output.frames, frames)
    records.to_csv(output.records, index=False)
    row.to_csv(output.round, index=False)
