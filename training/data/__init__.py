"""Logs and items, read, checked and split: all that happens to data before training."""
