"""What is run with the engine and recorded: stability runs of molecules; NPT runs, scans and pressures of liquids."""
