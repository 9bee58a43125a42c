"""molecule.sdf -> GAFF topology and tables of bonds and angles."""

from physembed.molecules.angles import angle_table, write_angle_table
from physembed.molecules.bonds import bond_table, write_bond_table
from physembed.molecules.topology import gaff_topology, write_topology
from physembed.stage import stage

with stage(snakemake):
    settings = snakemake.params.settings
    structure = gaff_topology(snakemake.input.sdf, **settings["topology"], multiplicity=settings["multiplicity"])
    write_topology(structure, snakemake.output.prmtop, snakemake.output.inpcrd)
    bonds = bond_table(structure)
    write_bond_table(snakemake.output.bonds, bonds)
    write_angle_table(snakemake.output.angles, angle_table(structure, bonds))
