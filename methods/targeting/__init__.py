"""Shared by the methods that aim at a target distribution: exact assigned classes, and losses of a batch."""
