"""Models of the energy: MACE and its training, and the CSO dispersion correction that is added to a model."""
