"""Trade-offs between fairness, quality and cost over the cells of finished runs."""
