"""SMILES or structure file -> molecule.sdf with 3D coordinates and all hydrogens."""

from physembed.molecules.structure import chosen_isomer, from_file, from_smiles, write_sdf
from physembed.stage import stage

with stage(snakemake) as log:
    settings, name = snakemake.params.settings, snakemake.wildcards.molecule
    if settings["smiles"]:
        molecule = from_smiles(settings["smiles"], settings["seed"])
        if isomer := chosen_isomer(molecule):
            log.warning("%s: %s leaves stereochemistry open; taken is %s", name, settings["smiles"], isomer)
            snakemake.found = {"isomer": isomer}
    else:
        molecule = from_file(snakemake.input.structure)
    write_sdf(snakemake.output.sdf, molecule, name)
