"""Headers of many files as tables."""
