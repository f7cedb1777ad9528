"""Index folders: resumable scans and their updates."""
