"""Paper tables: templates filled with the CSVs of a finished run, in LaTeX, Markdown, CSV or HTML."""
