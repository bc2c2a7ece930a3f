"""A small package with a method, a metric, a classifier and a model, as a user of the bench would write it."""
