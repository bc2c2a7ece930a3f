"""Debiasing methods, one a file; the file's stem is the public name."""
