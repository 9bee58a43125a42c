"""Trajectory -> the frames for training and for validation."""

import ase.io

from physembed.config import Frames
from physembed.sampling.frames import select_frames
from physembed.stage import stage
from physembed.trajectory import write_trajectory

with stage(snakemake):
    settings = snakemake.params.settings
    trajectory = ase.io.read(snakemake.input.trajectory, ":")
    # One start is drawn after the others and not used here; it does not affect them.
    chosen = select_frames(trajectory, Frames(**settings["frames"], starts=1), settings["seed"])
    write_trajectory(snakemake.output.train, chosen["train"])
    write_trajectory(snakemake.output.validation, chosen["validation"])
