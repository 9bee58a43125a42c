"""Reference frames of a liquid -> xTB energies, forces and stress of those accepted, and the ledger of all."""

import ase.io

from physembed.config import Labels
from physembed.config.rounds import MARK
from physembed.labels.labelling import label_frames
from physembed.molecules.bonds import read_bond_table
from physembed.stage import stage
from physembed.trajectory import write_trajectory

with stage(snakemake) as log:
    frames, ledger = label_frames(
        ase.io.read(snakemake.input.frames, ":"),
        Labels(**snakemake.params.settings["labels"]),
        charge=0,
        bonds=read_bond_table(snakemake.input.bonds),
        workers=snakemake.threads,
        restart_dir=snakemake.params.restart,
        of_a_model=MARK in snakemake.wildcards.liquid,
    )
    if not frames:
        log.warning("no frame of this round is accepted: it adds nothing")
    ledger.to_csv(snakemake.output.ledger, index=False)
    write_trajectory(snakemake.output.frames, frames)
