"""Models in other engines: OpenMM, LAMMPS, ASE and torch-sim, short runs in each, and a certificate that they agree."""
