"""Takes the place of prokaryote, which carries CellProfiler's Java archives."""
