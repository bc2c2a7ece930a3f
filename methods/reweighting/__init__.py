"""What the methods that train a score model share: two image sets, a discriminator, small networks, and their store."""
