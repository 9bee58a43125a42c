"""MACE on a CPU: an evaluator compiled for the shape of a model.

MACE's PyTorch code multiplies dense tensors most of whose entries are 0, runs a network for each edge that is a
function of one distance, and writes all of this to memory. Here the radial networks are tabulated once per model
(`radial`), the symmetric contraction is a list of monomials (`contraction`), the messages are summed neighbour by
neighbour in registers (`edges`), and the backward pass to the forces is hand-written. The code is generated with LLVM's
builder rather than by Numba or a C compiler: vectors have the width of the machine's registers, NaN and infinity are
handled, compilation takes seconds, and no compiler is needed at run time.

`admission` decides whether a model is supported; `models` are the torch-sim models used in MD.
"""
