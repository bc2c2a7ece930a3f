"""Sweeps: run a method at many settings, as ordinary suites."""
