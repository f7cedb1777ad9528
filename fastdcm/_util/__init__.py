"""Shared helpers: atomic file replacement and parallel loops."""
