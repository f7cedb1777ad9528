"""Objects in object stores and behind URLs."""
