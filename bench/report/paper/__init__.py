"""Tables of a paper, laid out by small data files: from the CSVs of a finished run alone."""
