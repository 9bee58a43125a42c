"""Replicas and their trajectories -> what the viewer of the summary page plays."""

from itertools import product

from physembed.molecules.bonds import read_bond_table
from physembed.report.viewer import movies_of, write_movies
from physembed.stage import stage
from physembed.tables import read_table

with stage(snakemake):
    settings, source = snakemake.params.settings, snakemake.input
    folders = dict(zip(product(settings["arms"], settings["seeds"]), source.trajectories, strict=True))
    write_movies(
        snakemake.output.movies, *movies_of(read_table(source.replicas), folders, read_bond_table(source.bonds))
    )
