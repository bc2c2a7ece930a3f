"""Sweeps: a method at many settings, as ordinary suites."""
