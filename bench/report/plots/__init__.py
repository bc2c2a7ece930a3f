"""Plots of finished runs, one file a plot, found by its name; none of them imports torch."""
