"""Evaluation of models and propagation of batches of systems: steps, neighbour lists, CUDA graphs, memory, devices.

This package knows nothing about the workflow's stages, the result files or what is recorded.
"""
