"""A run: cells, keys, preflight, workers, scores, tables."""
