"""Read the CSA headers of Siemens MR files."""

def read_csa(data: bytes | bytearray | memoryview) -> dict[str, list[str]]:
    """Return the tags of a CSA header with their texts.

    Parameters
    ----------
    data : bytes-like
        The value of (0029,xx10) or (0029,xx20), SIEMENS CSA HEADER, in either
        format (CSA1, CSA2).

    Returns
    -------
    dict of str to list of str
        Items without text are left out.

    Raises
    ------
    DicomError
        "csa" where the bytes are damaged.
    """
