"""TRAINING: networks from data, and model folders from checkpoints. The only package that imports torch."""
