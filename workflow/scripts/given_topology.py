"""A user's own topology (AMBER or GROMACS) -> the same files as from GAFF."""

from physembed.molecules.bonds import bond_table, write_bond_table
from physembed.molecules.topology import load_topology, write_topology
from physembed.stage import stage

with stage(snakemake):
    structure = load_topology(snakemake.input.topology, snakemake.input.coordinates)
    write_topology(structure, snakemake.output.prmtop, snakemake.output.inpcrd)
    write_bond_table(snakemake.output.bonds, bond_table(structure))
