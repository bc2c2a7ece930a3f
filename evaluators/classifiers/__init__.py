"""Shared parts of the attribute classifiers: the network's structure, its files, and its predictions."""
