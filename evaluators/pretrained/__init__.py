"""Helpers of the extractors that run pretrained networks: checks of images, and files of weights."""
