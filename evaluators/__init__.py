"""Metrics and extractors, one per file; the file stem is the public name."""
