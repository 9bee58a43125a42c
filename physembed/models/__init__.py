"""Models to work with: MACE, corrected models and committees, loaded for ASE and torch-sim, checked and evaluated."""
