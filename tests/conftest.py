"""One OpenMP thread, set before any library loads: sums in a fixed order, also where an SCF is nearly degenerate."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
