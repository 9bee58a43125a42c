"""SMILES or structure file -> molecule.sdf with 3D coordinates and all hydrogens."""

from physembed.molecules.structure import from_file, from_smiles, write_sdf
from physembed.stage import stage

with stage(snakemake):
    settings = snakemake.params.settings
    if settings["smiles"]:
        molecule = from_smiles(settings["smiles"], settings["seed"])
    else:
        molecule = from_file(snakemake.input.structure)
    write_sdf(snakemake.output.sdf, molecule, snakemake.wildcards.molecule)
