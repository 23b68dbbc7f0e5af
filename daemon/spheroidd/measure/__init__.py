"""From masks to areas: batches per plate to one warm CellProfiler worker."""
