"""Shared parts of the extractors on contrastive image-text models: checkpoints, prompts and vocabularies."""
