"""A user's own topology (AMBER or GROMACS) -> the same files as from GAFF."""

from physembed.molecules.angles import angle_table, write_angle_table
from physembed.molecules.bonds import bond_table, write_bond_table
from physembed.molecules.topology import convert_topology
from physembed.stage import stage

with stage(snakemake):
    source, output = snakemake.input, snakemake.output
    structure = convert_topology(source.topology, source.coordinates, output.prmtop, output.inpcrd)
    bonds = bond_table(structure)
    write_bond_table(output.bonds, bonds)
    write_angle_table(output.angles, angle_table(structure, bonds))
