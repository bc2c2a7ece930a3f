"""The report: one self-contained HTML file of a finished run, made from the run's files without torch."""
