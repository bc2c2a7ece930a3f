"""Shared parts of metrics over stored features: Gaussian fits, distances, kernels and nearest neighbours."""
