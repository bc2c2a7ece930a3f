"""The forecast of a run: time, memory, cells that will be skipped."""
