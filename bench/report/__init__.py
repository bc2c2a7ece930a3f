"""Tables, grids and the terminal: made of finished cells alone."""
