"""Molecules: structures, classical topologies and their bonds."""
