"""Fairness against quality against cost: the points of finished runs, their Pareto front and its hypervolume."""
