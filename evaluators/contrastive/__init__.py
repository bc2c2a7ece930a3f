"""What the extractors on contrastive image-text models share: checkpoints, prompts and vocabularies."""
