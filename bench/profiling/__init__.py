"""What a method costs, by stage: seconds, calls, FLOPs and memory (`run_bench.py profile`)."""
