"""What a study would cost before it runs: jobs, reasons, hours and memory (docs/plan.md)."""
