"""MACE on a CPU: an evaluator that is compiled for the shape of a model.

MACE's PyTorch code multiplies dense tensors most of whose entries are 0, runs a network for each edge that is a
function of one distance, and writes all of that to memory. Here the radial networks are tabulated once per model
(`radial`), the symmetric contraction is a list of monomials (`contraction`), the messages are summed neighbour by
neighbour in registers (`edges`), and the way back to the forces is written out by hand. The code is made with LLVM's
builder rather than by Numba or a C compiler: vectors have the width of the machine, nothing may be assumed away that is
not a number, it takes seconds, and no compiler is needed where it runs.

`admission` decides whether a model is taken; `models` are what batches are advanced with.
"""
