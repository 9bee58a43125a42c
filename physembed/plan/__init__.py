"""What a study would cost before it runs: jobs, reasons, hours and memory (docs/how-to/plan.md)."""
