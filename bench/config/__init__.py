"""Suites and their parts: what a run is asked to do."""
