"""What the methods that aim at a target distribution share: exact assigned classes, and losses of the batch's distribution."""
