"""Series of images as arrays with geometry, checked for gaps and mixtures.

`read_volume` and `read_volumes` are those of `fastdcm`; here are also the types that
they return and raise. `fastdcm.volume.siemens.csa_header` reads Siemens private headers.
"""

from fastdcm.errors import Finding
from fastdcm.volume.result import Volume, VolumeError
from fastdcm.volume.series import read_volumes
from fastdcm.volume.volume import read_volume

__all__ = ["Finding", "Volume", "VolumeError", "read_volume", "read_volumes"]
