"""Shared by the methods that train a score model: two image sets, a discriminator, small networks and their cache."""
