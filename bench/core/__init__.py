"""What every layer rests on: errors, attributes, statistics, text. No torch, nothing of bench."""
