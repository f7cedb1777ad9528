"""Other representations of a data set."""
