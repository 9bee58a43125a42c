"""What the runs show, with its uncertainty: pure functions from tables to tables."""
