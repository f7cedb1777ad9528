"""Unique identifiers (PS3.5 chapter 9, PS3.6 Annex A) and the transfer syntaxes.

The keyword of a UID is also a name in this module: ``ExplicitVRLittleEndian``,
``CTImageStorage``. These names are created on first access.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self


class TransferSyntax(tuple[str, bool, bool, bool, bool, str, str]):
    """How a data set is encoded, and which codec decodes its pixel data.

    A tuple ``(uid, implicit, big_endian, deflated, encapsulated, pixels,
    refusal)``. The data elements can be read in every transfer syntax, also
    where the pixel data cannot be decoded.

    Examples
    --------
    >>> from fastdcm.uid import TRANSFER_SYNTAXES
    >>> TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.80"].pixels
    'jpegls'
    """

    __slots__ = ()

    @property
    def uid(self) -> str:
        """The UID."""
        return self[0]

    @property
    def implicit(self) -> bool:
        """Whether headers have no VR (PS3.5 A.1)."""
        return self[1]

    @property
    def big_endian(self) -> bool:
        """Whether numbers are big endian."""
        return self[2]

    @property
    def deflated(self) -> bool:
        """Whether the data set is a deflate stream (PS3.5 A.5)."""
        return self[3]

    @property
    def encapsulated(self) -> bool:
        """Whether pixel data is stored in fragments (PS3.5 A.4)."""
        return self[4]

    @property
    def pixels(self) -> str:
        """The family of codecs that decodes the pixel data.

        "native" for none, "native-big" for none but with big endian pixels in a
        little endian data set, "rle", "jpeg", "jpegls", "jpeg2000", "htj2k",
        "jpegxl", "mpeg", "deflate-frame"; "" if it cannot be decoded.
        """
        return self[5]

    @property
    def refusal(self) -> str:
        """The reason why pixel data cannot be decoded, else ""."""
        return self[6]


_HIERARCHICAL = "hierarchical JPEG was retired and no decoder reads it"
_ARITHMETIC = "lossless JPEG with arithmetic coding was retired and no decoder reads it"
_JPIP = "the pixel data is on a JPIP server, at the URL in (0028,7FE0)"
_STREAM = "the pixel data is in a separate SMPTE ST 2110 stream"
_MESSAGE = "a retired encoding of messages, which defines no pixel data"

# UID; encoding: I implicit, B big endian, D deflated, E encapsulated pixel data;
# codec, or why pixel data cannot be decoded. All transfer syntaxes that PS3.6
# table A-1 has ever contained, in its order, and a private one of GE.
_ROWS = (
    ("1.2.840.10008.1.2", "I", "native"),  # Implicit VR Little Endian
    ("1.2.840.10008.1.2.1", "", "native"),  # Explicit VR Little Endian
    ("1.2.840.10008.1.2.1.98", "E", "native"),  # encapsulated uncompressed
    ("1.2.840.10008.1.2.1.99", "D", "native"),  # Deflated Explicit VR Little Endian
    ("1.2.840.10008.1.2.2", "B", "native"),  # Explicit VR Big Endian
    ("1.2.840.10008.1.2.4.50", "E", "jpeg"),  # JPEG Baseline (Process 1)
    ("1.2.840.10008.1.2.4.51", "E", "jpeg"),  # JPEG Extended (Process 2 and 4)
    ("1.2.840.10008.1.2.4.52", "E", "jpeg"),  # process 3 and 5
    ("1.2.840.10008.1.2.4.53", "E", "jpeg"),  # process 6 and 8
    ("1.2.840.10008.1.2.4.54", "E", "jpeg"),  # process 7 and 9
    ("1.2.840.10008.1.2.4.55", "E", "jpeg"),  # process 10 and 12
    ("1.2.840.10008.1.2.4.56", "E", "jpeg"),  # process 11 and 13
    ("1.2.840.10008.1.2.4.57", "E", "jpeg"),  # JPEG Lossless (process 14)
    ("1.2.840.10008.1.2.4.58", "E", _ARITHMETIC),  # process 15
    ("1.2.840.10008.1.2.4.59", "E", _HIERARCHICAL),  # process 16 and 18
    ("1.2.840.10008.1.2.4.60", "E", _HIERARCHICAL),  # process 17 and 19
    ("1.2.840.10008.1.2.4.61", "E", _HIERARCHICAL),  # process 20 and 22
    ("1.2.840.10008.1.2.4.62", "E", _HIERARCHICAL),  # process 21 and 23
    ("1.2.840.10008.1.2.4.63", "E", _HIERARCHICAL),  # process 24 and 26
    ("1.2.840.10008.1.2.4.64", "E", _HIERARCHICAL),  # process 25 and 27
    ("1.2.840.10008.1.2.4.65", "E", _HIERARCHICAL),  # process 28
    ("1.2.840.10008.1.2.4.66", "E", _HIERARCHICAL),  # process 29
    ("1.2.840.10008.1.2.4.70", "E", "jpeg"),  # JPEG Lossless, first-order prediction
    ("1.2.840.10008.1.2.4.80", "E", "jpegls"),  # JPEG-LS Lossless
    ("1.2.840.10008.1.2.4.81", "E", "jpegls"),  # JPEG-LS Lossy
    ("1.2.840.10008.1.2.4.90", "E", "jpeg2000"),  # JPEG 2000 lossless
    ("1.2.840.10008.1.2.4.91", "E", "jpeg2000"),  # JPEG 2000
    ("1.2.840.10008.1.2.4.92", "E", "jpeg2000"),  # JPEG 2000 part 2, lossless
    ("1.2.840.10008.1.2.4.93", "E", "jpeg2000"),  # JPEG 2000 part 2
    ("1.2.840.10008.1.2.4.94", "", _JPIP),  # JPIP Referenced
    ("1.2.840.10008.1.2.4.95", "D", _JPIP),  # JPIP Referenced Deflate
    ("1.2.840.10008.1.2.4.100", "E", "mpeg"),  # MPEG2 Main Profile / Main Level
    ("1.2.840.10008.1.2.4.100.1", "E", "mpeg"),  # the same, fragmentable
    ("1.2.840.10008.1.2.4.101", "E", "mpeg"),  # MPEG2 Main Profile / High Level
    ("1.2.840.10008.1.2.4.101.1", "E", "mpeg"),  # the same, fragmentable
    ("1.2.840.10008.1.2.4.102", "E", "mpeg"),  # MPEG-4 High 4.1
    ("1.2.840.10008.1.2.4.102.1", "E", "mpeg"),  # the same, fragmentable
    ("1.2.840.10008.1.2.4.103", "E", "mpeg"),  # MPEG-4 High, BD-compatible
    ("1.2.840.10008.1.2.4.103.1", "E", "mpeg"),  # the same, fragmentable
    ("1.2.840.10008.1.2.4.104", "E", "mpeg"),  # MPEG-4 High 4.2 2D
    ("1.2.840.10008.1.2.4.104.1", "E", "mpeg"),  # the same, fragmentable
    ("1.2.840.10008.1.2.4.105", "E", "mpeg"),  # MPEG-4 High 4.2 3D
    ("1.2.840.10008.1.2.4.105.1", "E", "mpeg"),  # the same, fragmentable
    ("1.2.840.10008.1.2.4.106", "E", "mpeg"),  # MPEG-4 Stereo High 4.2
    ("1.2.840.10008.1.2.4.106.1", "E", "mpeg"),  # the same, fragmentable
    ("1.2.840.10008.1.2.4.107", "E", "mpeg"),  # HEVC/H.265 Main 5.1
    ("1.2.840.10008.1.2.4.108", "E", "mpeg"),  # HEVC/H.265 Main 10 5.1
    ("1.2.840.10008.1.2.4.110", "E", "jpegxl"),  # JPEG XL Lossless
    ("1.2.840.10008.1.2.4.111", "E", "jpegxl"),  # JPEG XL JPEG Recompression
    ("1.2.840.10008.1.2.4.112", "E", "jpegxl"),  # JPEG XL
    ("1.2.840.10008.1.2.4.201", "E", "htj2k"),  # HTJ2K lossless
    ("1.2.840.10008.1.2.4.202", "E", "htj2k"),  # HTJ2K lossless, RPCL
    ("1.2.840.10008.1.2.4.203", "E", "htj2k"),  # HTJ2K
    ("1.2.840.10008.1.2.4.204", "", _JPIP),  # JPIP HTJ2K Referenced
    ("1.2.840.10008.1.2.4.205", "D", _JPIP),  # JPIP HTJ2K Referenced Deflate
    ("1.2.840.10008.1.2.5", "E", "rle"),  # RLE Lossless
    ("1.2.840.10008.1.2.6.1", "", _MESSAGE),  # RFC 2557 MIME encapsulation
    ("1.2.840.10008.1.2.6.2", "", _MESSAGE),  # XML Encoding
    ("1.2.840.10008.1.2.7.1", "", _STREAM),  # SMPTE 2110-20 Progressive Active Video
    ("1.2.840.10008.1.2.7.2", "", _STREAM),  # SMPTE 2110-20 Interlaced Active Video
    ("1.2.840.10008.1.2.7.3", "", _STREAM),  # SMPTE ST 2110-30 PCM Digital Audio
    ("1.2.840.10008.1.2.8.1", "E", "deflate-frame"),  # Deflated Image Frame Compression
    ("1.2.840.10008.1.20", "I", "native"),  # Papyrus 3 Implicit VR Little Endian
    ("1.2.840.113619.5.2", "I", "native-big"),  # GE private
)

#: Every transfer syntax by its UID.
TRANSFER_SYNTAXES: dict[str, TransferSyntax] = {
    uid: TransferSyntax(
        (
            uid,
            "I" in how,
            "B" in how,
            "D" in how,
            "E" in how,
            "" if " " in pixels else pixels,
            pixels if " " in pixels else "",
        )
    )
    for uid, how, pixels in _ROWS
}


def _uids() -> dict[str, tuple[str, str, str, str, str]]:
    from fastdcm import _uid_table  # large, so loaded on first use

    return _uid_table.UIDS


class UID(str):
    """A UID: a str with what PS3.6 Annex A registers for it.

    Parameters
    ----------
    value : str
        The UID; spaces around it are removed.

    Raises
    ------
    TypeError
        If `value` is not a str.

    Examples
    --------
    >>> from fastdcm import UID
    >>> UID("1.2.840.10008.1.2.4.50").name
    'JPEG Baseline (Process 1)'
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """Make the UID, without spaces around it."""
        if not isinstance(value, str):
            raise TypeError(f"a UID must be a str, got {type(value).__name__}")
        return str.__new__(cls, value.strip())

    def _entry(self) -> tuple[str, str, str, str, str]:
        return _uids().get(self, (str(self), "", "", "", ""))

    def _transfer_syntax(self) -> TransferSyntax:
        try:
            return TRANSFER_SYNTAXES[self]
        except KeyError:
            raise ValueError("UID is not a transfer syntax.") from None

    @property
    def name(self) -> str:
        """The registered name, or the UID itself."""
        return self._entry()[0]

    @property
    def type(self) -> str:
        """The registered type, such as "Transfer Syntax" or "SOP Class", or ""."""
        return self._entry()[1]

    @property
    def info(self) -> str:
        """The registered remark, or ""."""
        return self._entry()[2]

    @property
    def is_retired(self) -> bool:
        """Whether it is registered as retired."""
        return bool(self._entry()[3])

    @property
    def keyword(self) -> str:
        """The registered keyword, or ""."""
        return self._entry()[4]

    @property
    def is_private(self) -> bool:
        """Whether it is outside the root of the Standard, 1.2.840.10008."""
        return not self.startswith("1.2.840.10008.")

    @property
    def is_valid(self) -> bool:
        """Whether it has the form that PS3.5 9.1 requires."""
        return len(self) <= 64 and _is_dotted(self)

    @property
    def is_transfer_syntax(self) -> bool:
        """Whether it is a known transfer syntax."""
        return self in TRANSFER_SYNTAXES

    # The properties below raise ValueError if it is not a transfer syntax.

    @property
    def is_implicit_VR(self) -> bool:
        """Whether headers have no VR (PS3.5 A.1)."""
        return self._transfer_syntax().implicit

    @property
    def is_little_endian(self) -> bool:
        """Whether numbers are little endian."""
        return not self._transfer_syntax().big_endian

    @property
    def is_deflated(self) -> bool:
        """Whether the data set is a deflate stream (PS3.5 A.5)."""
        return self._transfer_syntax().deflated

    @property
    def is_encapsulated(self) -> bool:
        """Whether pixel data is stored in fragments (PS3.5 A.4)."""
        return self._transfer_syntax().encapsulated

    @property
    def is_compressed(self) -> bool:
        """Whether pixel data is not native."""
        row = self._transfer_syntax()
        return row.encapsulated or not row.pixels


def _is_dotted(text: str) -> bool:
    return all(
        part.isdecimal() and part.isascii() and (part[0] != "0" or part == "0")
        for part in text.split(".")
    )


_UUID_ROOT = "2.25."  # PS3.5 B.2: followed by a UUID as an integer


def generate_uid(prefix: str | None = _UUID_ROOT, entropy_srcs: Iterable[str] | None = None) -> UID:
    """Return a new UID (PS3.5 annex B).

    Parameters
    ----------
    prefix : str or None
        At most 54 characters that end in ".". After "2.25." the UID continues
        with a UUID as an integer, after any other prefix with digits up to 64
        characters. None is "2.25." with a random UUID.
    entropy_srcs : iterable of str, optional
        The same strings give the same UID, from which they cannot be recovered.
        Ignored if `prefix` is None.

    Returns
    -------
    UID

    Raises
    ------
    ValueError
        If `prefix` is too long or does not have the form of a prefix.

    Examples
    --------
    >>> from fastdcm import generate_uid
    >>> generate_uid(entropy_srcs=["study 17"]) == generate_uid(entropy_srcs=["study 17"])
    True
    """
    if prefix is None:
        prefix, entropy_srcs = _UUID_ROOT, None
    if len(prefix) > 54:
        raise ValueError(f"prefix must have at most 54 characters, got {len(prefix)}")
    if prefix[-1:] != "." or not _is_dotted(prefix[:-1]):
        raise ValueError(f"prefix must be numbers, each followed by a dot, got {prefix!r}")
    if entropy_srcs is None:
        seed = os.urandom(64)
    else:
        import hashlib  # loads OpenSSL, which takes longer than `import fastdcm`

        seed = hashlib.sha512("".join(entropy_srcs).encode()).digest()
    if prefix == _UUID_ROOT:
        # RFC 9562: version 4 is random, version 8 is made in any other way; variant 2.
        version = 4 if entropy_srcs is None else 8
        number = int.from_bytes(seed[:16], "big")
        number = number & ~(0xF << 76) | version << 76
        number = number & ~(3 << 62) | 2 << 62
        return UID(f"{prefix}{number}")
    number = int.from_bytes(seed, "big")
    if entropy_srcs is None:
        number %= 10 ** (64 - len(prefix))
    return UID(f"{prefix}{number}"[:64])


def __getattr__(name: str) -> UID:
    """Return the UID of a registered keyword."""
    if not name.startswith("_"):
        for uid, entry in _uids().items():
            if entry[4] == name:
                found: UID = globals().setdefault(name, UID(uid))
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
