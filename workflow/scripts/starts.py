"""Trajectory -> the start frames of the stability runs, none of them a training or validation frame."""

import ase.io

from physembed.config import Frames
from physembed.sampling.frames import select_frames
from physembed.stage import stage
from physembed.trajectory import write_trajectory

with stage(snakemake):
    settings = snakemake.params.settings
    trajectory = ase.io.read(snakemake.input.trajectory, ":")
    chosen = select_frames(trajectory, Frames(**settings["frames"]), settings["seed"])
    write_trajectory(snakemake.output.starts, chosen["starts"])
