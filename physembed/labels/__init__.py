"""GFN2-xTB labels: energies, forces and stress of many frames, and a ledger of what was accepted and why not."""

from physembed.labels.labelling import label_frames
from physembed.labels.ledger import LedgerRow
from physembed.labels.xtb import Label, calculate

__all__ = ["Label", "LedgerRow", "calculate", "label_frames"]
