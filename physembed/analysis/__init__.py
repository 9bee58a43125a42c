"""Analysis of the runs with uncertainties: pure functions from tables to tables."""
