"""Plots of finished runs: each file with a function `draw` is one plot, named after its file. No file imports torch."""
