"""Volumes as NIfTI files and as objects of other libraries."""
