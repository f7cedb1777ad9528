"""Index folders: scans that can be interrupted, resumed and updated."""
