"""One self-contained HTML file of a finished run; everything here reads what a run left, without torch."""
