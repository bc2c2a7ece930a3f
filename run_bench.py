"""The command line of the bench: `python run_bench.py --help`."""

from bench.cli import main

if __name__ == "__main__":
    main()
