"""Training checkpoints of others, turned into model folders."""
