"""A face detector of our own: taught by another detector, on photos that nobody labelled."""
