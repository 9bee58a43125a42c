"""GFN2-xTB labels of frames: energies, forces, stress, and a ledger of what was rejected and why.

`labelling.label_frames` labels many frames on all cores, `xtb.calculate` one. Nothing is imported here, because
worker processes start faster without what only the main process needs.
"""
