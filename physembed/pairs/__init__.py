"""Pairs of atoms within a cutoff: their search, lists with a skin, and lists of fixed shapes for CUDA graphs."""
