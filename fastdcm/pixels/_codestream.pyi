from typing import Literal, final

from typing_extensions import Buffer

@final
class Codestream:
    """The header of one compressed frame, read before a codec decodes it."""

    @property
    def kind(self) -> Literal["jpeg", "jpegls", "jpeg2000", "jpegxl"]:
        """The family of the codec."""

    @property
    def rows(self) -> int:
        """Height of the image in pixels."""

    @property
    def columns(self) -> int:
        """Width of the image in pixels."""

    @property
    def components(self) -> int:
        """Number of color components."""

    @property
    def precision(self) -> int:
        """Bits of a sample."""

    @property
    def process(self) -> int:
        """Number of the JPEG start-of-frame marker."""

    @property
    def is_signed(self) -> bool:
        """Whether samples are signed."""

    @property
    def is_reversible(self) -> bool:
        """Whether the compression is lossless."""

    @property
    def is_high_throughput(self) -> bool:
        """Whether a JPEG 2000 codestream has HT blocks."""

    @property
    def is_planar(self) -> bool:
        """Whether each component has a scan of its own."""

    @property
    def is_subsampled(self) -> bool:
        """Whether components of a JPEG differ in their sampling factors."""

    @property
    def color(self) -> Literal["", "RGB", "YBR_FULL"]:
        """What three components are once decoded; "" if the codestream does not say."""

    @property
    def scans(self) -> int:
        """Number of scans of a JPEG or JPEG-LS codestream."""

    @property
    def is_complete(self) -> bool:
        """Whether the end marker is there."""

    @property
    def least_bytes(self) -> int:
        """The fewest bytes that tiles and packets of the declared number take."""

def read_codestream(data: Buffer) -> Codestream | None:
    """Return the header of one compressed frame.

    None if the bytes do not begin with a codestream that a frame can have.
    """
