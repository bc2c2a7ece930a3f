"""Checks that a results file holds the numbers that this bench computes (`run_bench.py verify`)."""
