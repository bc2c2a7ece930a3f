"""Training of the networks that the bench ships or a user brings: recipes in, folders of weights out."""
