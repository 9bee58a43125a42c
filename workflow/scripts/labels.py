"""Frames -> GFN2-xTB energies and forces of those accepted, and the ledger of all."""

import ase.io

from physembed.config import Labels
from physembed.labels.labelling import label_frames
from physembed.molecules.bonds import read_bond_table
from physembed.molecules.reading import load_topology
from physembed.molecules.topology import total_charge
from physembed.stage import stage
from physembed.trajectory import write_trajectory

with stage(snakemake):
    charge = total_charge(load_topology(snakemake.input.prmtop, snakemake.input.inpcrd))
    frames, ledger = label_frames(
        ase.io.read(snakemake.input.frames, ":"),
        Labels(**snakemake.params.settings["labels"]),
        charge=charge,
        multiplicity=snakemake.params.settings["multiplicity"],
        bonds=read_bond_table(snakemake.input.bonds),
        workers=snakemake.threads,
        restart_dir=snakemake.params.restart,
    )
    ledger.to_csv(snakemake.output.ledger, index=False)
    write_trajectory(snakemake.output.frames, frames)
