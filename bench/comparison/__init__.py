"""Comparing finished runs: two methods head to head, and a run against its baseline. No network is run here."""
