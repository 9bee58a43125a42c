"""GFN2-xTB labels of frames: energies, forces, stress, and a ledger of which frames were rejected and why.

`labelling.label_frames` labels many frames on all cores, `xtb.calculate` one. Nothing is imported here, so that
worker processes start faster.
"""
