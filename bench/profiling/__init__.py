"""Profiles: seconds, NFE, FLOPs and memory of each method by stage (`run_bench.py profile`)."""
