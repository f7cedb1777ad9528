"""Scanning: the headers of many files as Arrow tables and index folders."""
