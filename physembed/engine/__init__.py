"""What evaluates models and advances batches of systems: batches, steps, neighbour lists, CUDA graphs, memory, devices.

Nothing here knows a stage of the workflow, a file of results or what is recorded.
"""
