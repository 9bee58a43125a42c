"""MACE's trainer, with the gradients and losses that replace its own, and the data sets it is given."""
