"""Volumes and segmentations on other grids."""
