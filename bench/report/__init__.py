"""Views of finished runs: tables, plots, the page, paper tables and trade-offs. Nothing here imports torch."""
