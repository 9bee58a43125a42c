"""Files of MACE models: loaded, described without running anything of them, and checked."""
