"""Where bytes come from: local paths, archive members, object stores and URLs."""
