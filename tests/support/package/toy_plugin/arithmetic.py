"""What the method takes from a helper module."""

WEIGHT = 0.5


def between(a, b, share):
    """Return a moved towards b."""
    return a + share * WEIGHT * (b - a)
