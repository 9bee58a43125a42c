"""Topology -> frames with labels of the force field, for pre-training and for judging it."""

from physembed.config import Pretraining
from physembed.molecules.angles import read_angle_table
from physembed.molecules.bonds import read_bond_table
from physembed.molecules.reading import load_topology
from physembed.restart import restart_folder
from physembed.sampling.pretraining import pretraining_frames
from physembed.stage import stage
from physembed.trajectory import write_trajectory

with stage(snakemake):
    # Imported here, so that what these packages print on their way goes to the log.
    from physembed.training.trainer import split

    values, paths = snakemake.params.settings, snakemake.input
    settings = Pretraining(**values["pretraining"])
    frames = pretraining_frames(
        load_topology(paths.prmtop, paths.inpcrd),
        (read_bond_table(paths.bonds), read_angle_table(paths.angles)),
        settings,
        values["gaff_md"],
        parameter_set=values["parameter_set"],
        max_force_eV_A=values["max_force_eV_A"],
        seed=values["seed"],
        restart=restart_folder(snakemake),
    )
    train, validation = split(frames, settings.validation_fraction, values["seed"])
    write_trajectory(snakemake.output.train, train)
    write_trajectory(snakemake.output.validation, validation)
