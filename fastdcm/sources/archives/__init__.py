"""Members of zip and tar archives."""
