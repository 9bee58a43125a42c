"""Topologies of the components -> frames of their liquid at several densities and temperatures, to be labelled."""

from physembed.config.liquids import Reference
from physembed.liquids.box import mass_u, pack
from physembed.liquids.composition import molecule_counts
from physembed.liquids.reference_frames import Component, reference_frames
from physembed.liquids.reference_runs import constant_volume_runs
from physembed.molecules.angles import angle_table
from physembed.molecules.bonds import bond_table, write_bond_table
from physembed.molecules.reading import load_topology
from physembed.stage import stage
from physembed.trajectory import write_trajectory

with stage(snakemake):
    values = snakemake.params.settings
    settings, seed = Reference(**values["reference"]), values["seed"]
    structures = [load_topology(*files) for files in zip(snakemake.input.prmtop, snakemake.input.inpcrd, strict=True)]
    fractions = [fraction for _, _, fraction in values["components"]]
    counts = molecule_counts([mass_u(structure) for structure in structures], fractions, settings.molecules)
    runs = constant_volume_runs(structures, counts, settings, seed, threads=snakemake.threads)
    components = []
    for structure, count in zip(structures, counts, strict=True):
        bonds = bond_table(structure)
        components.append(Component(bonds, angle_table(structure, bonds), count))
    frames = reference_frames(runs, settings, components, seed, parameter_set=values["parameter_set"])
    for frame in frames:
        frame.info["liquid"] = snakemake.wildcards.liquid
    write_trajectory(snakemake.output.frames, frames)
    write_bond_table(snakemake.output.bonds, bond_table(pack(structures, counts, 0.5, seed)))
