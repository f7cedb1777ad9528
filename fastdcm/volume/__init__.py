"""Series of images as 3D arrays with geometry, checked for gaps and mixtures.

`read_volume` is `fastdcm.read_volume`; here are also the types that it returns
and raises. `fastdcm.volume.siemens.csa_header` reads Siemens private headers.
"""

from fastdcm.errors import Finding
from fastdcm.volume.volume import Volume, VolumeError, read_volume

__all__ = ["Finding", "Volume", "VolumeError", "read_volume"]
