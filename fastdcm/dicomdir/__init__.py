"""File-sets with a DICOMDIR (PS3.10 chapter 8)."""
