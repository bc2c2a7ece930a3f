"""What is installed and what has to be fetched."""
