"""The training loop and the losses that methods and recipes share."""
