"""What the methods that aim at a target distribution share: exact presets, and losses of the batch's distribution."""
