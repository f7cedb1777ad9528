"""The compiled core: files, element indexes, values and data sets."""
