"""Read the CSA headers of Siemens MR files."""

from fastdcm.core.dcm cimport *

from fastdcm.errors import DicomError


def read_csa(const uint8_t[::1] data):
    """Return the tags of a CSA header with their texts."""
    cdef dcm_csa walk
    cdef dcm_span name, text
    cdef dcm_csa_result more
    found = {}
    more = dcm_csa_start(&walk, &data[0] if data.shape[0] else NULL, <uint64_t>data.shape[0])
    while more == DCM_CSA_FOUND:
        more = dcm_csa_tag(&walk, &name)
        if more != DCM_CSA_FOUND:
            break
        values = found.setdefault((<const char *>name.p)[:name.n].decode("latin-1"), [])
        while True:
            more = dcm_csa_item(&walk, &text)
            if more != DCM_CSA_FOUND:
                break
            text = dcm_trim(text.p, text.n)
            if text.n:
                values.append((<const char *>text.p)[:text.n].decode("latin-1"))
        if more == DCM_CSA_END:
            more = DCM_CSA_FOUND
    if more == DCM_CSA_DAMAGED:
        raise DicomError("the CSA header is damaged", "csa")
    return found
