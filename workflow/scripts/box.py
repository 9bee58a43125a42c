"""Topologies of the components -> a packed box, its bonds and its composition."""

from physembed.liquids.box import composition_table, mass_u, pack
from physembed.liquids.composition import molecule_counts
from physembed.molecules.bonds import bond_table, write_bond_table
from physembed.molecules.reading import load_topology
from physembed.molecules.topology import write_topology
from physembed.stage import stage

with stage(snakemake):
    settings, output = snakemake.params.settings, snakemake.output
    structures = [load_topology(*files) for files in zip(snakemake.input.prmtop, snakemake.input.inpcrd, strict=True)]
    names, smiles, fractions = zip(*settings["components"], strict=True)
    masses = [mass_u(structure) for structure in structures]
    counts = molecule_counts(masses, fractions, settings["molecules"])
    box = pack(structures, counts, settings["packing_density_g_cm3"], settings["seed"])
    write_topology(box, output.prmtop, output.inpcrd, periodic=True)
    write_bond_table(output.bonds, bond_table(box))
    composition_table(names, smiles, fractions, structures, counts).to_csv(output.composition, index=False)
