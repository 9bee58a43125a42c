"""MD runs and their records: stability runs of molecules; NPT runs, scans and pressures of liquids."""
