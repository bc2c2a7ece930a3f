"""Whether a results file says what this bench would say (`run_bench.py verify`)."""
