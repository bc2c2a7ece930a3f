"""Metrics and extractors, one a file; the file's stem is the public name."""
