"""Tables and the terminal: made of finished cells alone."""
