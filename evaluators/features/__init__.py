"""What metrics over stored features share: fits, distances, kernels, neighbours and the walk over reference sets."""
