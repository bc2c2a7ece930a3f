"""The base of every layer: errors, attributes, statistics, text. Imports no torch and nothing of bench."""
