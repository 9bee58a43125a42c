"""Hot MD of many replicas of one molecule in a batch: the engine, its records and the collapse detector."""
