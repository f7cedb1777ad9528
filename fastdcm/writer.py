"""Write a data set to a file (PS3.10 chapter 7): `dcmwrite`.

Elements that were not changed are written as the bytes that were read, with two
exceptions: what the index repaired (a length past the end, a missing delimiter,
tags out of order), and group lengths (retired, PS3.5 7.2), which are removed
when an element of their group was changed.
"""

from __future__ import annotations

import os
import stat
import zlib

from fastdcm._util.atomic import write_atomically
from fastdcm.core._copy import copy_level
from fastdcm.core._elements import DataElement, ElementMap
from fastdcm.core._encode import deflated_span, has_fragments, is_complete, keep_open, pieces_of
from fastdcm.errors import WriteError
from fastdcm.uid import TRANSFER_SYNTAXES, UID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import BufferedWriter
    from typing import TypeAlias

    from fastdcm.core._file import File
    from fastdcm.core.protocols import Target, WritableFile
    from fastdcm.uid import TransferSyntax

    _Piece: TypeAlias = bytes | tuple[File, int, int]

IMPLEMENTATION_CLASS_UID = "2.25.143289023768514729341063822104970166457"
IMPLEMENTATION_VERSION_NAME = "FASTDCM"

_CHUNK = 1 << 20


def dcmwrite(
    target: Target,
    ds: ElementMap,
    enforce_file_format: bool = False,
    *,
    implicit_vr: bool | None = None,
    little_endian: bool | None = None,
    transfer_syntax: str | None = None,
    overwrite: bool = True,
    durable: bool = True,
    strict: bool = True,
) -> None:
    """Write a data set (PS3.10 chapter 7).

    Parameters
    ----------
    target : str, bytes, os.PathLike or file object
        A path, or an object with the method ``write``. A file is replaced
        atomically: it is written under a temporary name in the same directory
        and then renamed.
    ds : Dataset
        The data set. Its ``file_meta`` and ``preamble`` are written if present.
    enforce_file_format : bool, default False
        Write a file that conforms to PS3.10 7.1: with a preamble and all
        required elements of the file meta information. By default only those
        that are present are written.
    implicit_vr, little_endian : bool, optional
        The encoding, if no transfer syntax determines it.
    transfer_syntax : str, optional
        The UID to use in place of the one in ``ds.file_meta``, which is not
        changed.
    overwrite : bool, default True
        If False, raise FileExistsError if the path exists.
    durable : bool, default True
        Return after the data is on the disk (fsync).
    strict : bool, default True
        Raise an error for text that the character set cannot encode and for
        numbers that do not fit an IS. If False, such characters become question
        marks.

    Raises
    ------
    WriteError
        If the data set cannot be written as requested, also if pixel data would
        have to be compressed, decompressed or converted. A DicomError and a
        ValueError.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import fastdcm
    >>> ds = fastdcm.Dataset()
    >>> ds.PatientID = "12345"
    >>> fastdcm.dcmwrite("small.dcm", ds, implicit_vr=True, little_endian=True)
    """
    for group in {tag >> 16 for tag in ds.keys()} & {0, 2}:  # noqa: SIM118  # iteration gives elements
        raise WriteError(
            "elements of a command set (group 0000) cannot be written to a file"
            if group == 0
            else "elements of group 0002 belong in ds.file_meta"
        )
    preamble = getattr(ds, "preamble", None)
    if preamble and len(preamble) != 128:
        raise WriteError(f"preamble must have 128 bytes, got {len(preamble)}")
    meta = ElementMap()
    file_meta = getattr(ds, "file_meta", None)
    if file_meta is not None:
        meta = copy_level(file_meta, ElementMap())
    if transfer_syntax is not None and meta.get("TransferSyntaxUID") != transfer_syntax:
        meta.add(DataElement("TransferSyntaxUID", "UI", transfer_syntax))
    implicit, little = _encoding(ds, meta, implicit_vr, little_endian)
    if enforce_file_format:
        _complete(meta, ds, implicit, little)
        preamble = preamble or bytes(128)
    uid = _uid(meta, "TransferSyntaxUID")
    syntax = None if uid is None else TRANSFER_SYNTAXES.get(uid)
    _refuse_conversion(ds, uid, syntax)

    pieces: list[_Piece] = [preamble, b"DICM"] if preamble else []
    if meta:
        pieces += _group_2(meta)
    pieces += _data_set(ds, syntax, implicit, little, strict)
    if isinstance(target, (str, bytes, os.PathLike)):
        _write_path(os.fspath(target), ds, pieces, overwrite, durable)
    elif hasattr(target, "write"):
        _write_object(target, ds, pieces)
    else:
        raise TypeError(f"target must be a path or a file object, got {type(target).__name__}")


# ----------------------------------------------------------------- encoding ---


def _uid(level: ElementMap, keyword: str) -> UID | None:
    """Return the UID in an element of any VR, None if there is no value."""
    if keyword not in level or level[keyword].is_empty:
        return None
    value = level[keyword].value
    if isinstance(value, bytes):  # as OB or UN
        value = value.rstrip(b"\0").decode("latin-1")
    if not isinstance(value, str):
        raise WriteError(
            f"{keyword} must be one UID, got {value!r}: set it, or delete it",
            path=str(level[keyword].tag),
        )
    return UID(value)


def _encoding(
    ds: ElementMap, meta: ElementMap, implicit_vr: bool | None, little_endian: bool | None
) -> tuple[bool, bool]:
    """Return (implicit VR, little endian) of the data set to write."""
    uid = _uid(meta, "TransferSyntaxUID")
    syntax = None if uid is None else TRANSFER_SYNTAXES.get(uid)
    if syntax is not None:
        for name, requested, actual in (
            ("implicit_vr", implicit_vr, syntax.implicit),
            ("little_endian", little_endian, not syntax.big_endian),
        ):
            if requested is not None and requested != actual:
                raise WriteError(f"{name}={requested} contradicts the transfer syntax {uid}")
        return syntax.implicit, not syntax.big_endian
    if uid and not uid.is_private:
        raise WriteError(f"{uid} ({uid.name}) is not a transfer syntax")
    implicit, little = getattr(ds, "original_encoding", (None, None))
    if implicit_vr is not None:
        implicit, little = implicit_vr, little_endian is not False
    if implicit is None or little is None:
        raise WriteError(
            "the encoding of the data set is unknown: set TransferSyntaxUID in "
            "ds.file_meta, or pass implicit_vr and little_endian"
        )
    if implicit and not little:
        raise WriteError("implicit VR big endian does not exist")
    return implicit, little


def _refuse_conversion(ds: ElementMap, uid: UID | None, syntax: TransferSyntax | None) -> None:
    """Raise WriteError if pixel data that was read would have to change its bytes."""
    fragments = has_fragments(ds)
    source = ds._source.transfer_syntax if ds._source is not None else None
    if fragments is None or syntax is None or source == uid:
        return
    before = TRANSFER_SYNTAXES.get(source) if source else None
    pixels = before.pixels if before is not None else "" if source else syntax.pixels
    if fragments != syntax.encapsulated or (source and (fragments or pixels != syntax.pixels)):
        raise WriteError(
            f"pixel data would have to be converted from {source or 'an unknown transfer syntax'} "
            f"to {uid}: set PixelData to the converted bytes, or keep the transfer syntax",
            path="(7FE0,0010)",
        )


def _data_set(
    ds: ElementMap, syntax: TransferSyntax | None, implicit: bool, little: bool, strict: bool
) -> list[_Piece]:
    """Return the encoded data set, deflated if the transfer syntax is (PS3.5 A.5)."""
    encapsulated = -1 if syntax is None else int(syntax.encapsulated)
    if syntax is None or not syntax.deflated:
        return pieces_of(ds, implicit, not little, encapsulated, strict)[0]
    file = ds._source
    if (
        file is not None
        and file.deflated
        and file.transfer_syntax == syntax.uid
        and file.meta is not None
        and not ds.is_changed
        and is_complete(ds)
    ):
        return [(file, *deflated_span(file))]
    deflater = zlib.compressobj(wbits=-15)
    out = [
        deflater.compress(data)
        for data in _chunks(pieces_of(ds, implicit, not little, encapsulated, strict)[0])
    ]
    out.append(deflater.flush())
    if sum(map(len, out)) % 2:
        out.append(b"\0")
    return [*out]


# ------------------------------------------------- file meta information ---


def _complete(meta: ElementMap, ds: ElementMap, implicit: bool, little: bool) -> None:
    """Add the elements that PS3.10 7.1 requires, from the data set if needed."""
    if _uid(meta, "TransferSyntaxUID") is None:
        if not implicit and little:
            raise WriteError(
                "ds.file_meta needs a TransferSyntaxUID: several transfer syntaxes are explicit "
                "VR little endian"
            )
        meta.TransferSyntaxUID = "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.2"
    for name, source in (
        ("MediaStorageSOPClassUID", "SOPClassUID"),
        ("MediaStorageSOPInstanceUID", "SOPInstanceUID"),
    ):
        uid = _uid(ds, source)
        if uid is not None and meta.get(name) != uid:
            meta.add(DataElement(name, "UI", uid))
        if _uid(meta, name) is None:
            raise WriteError(f"ds.file_meta needs a {name}, and the data set has no {source}")
    for name, value in (
        ("FileMetaInformationGroupLength", 0),
        ("FileMetaInformationVersion", b"\0\1"),
        ("ImplementationClassUID", IMPLEMENTATION_CLASS_UID),
        ("ImplementationVersionName", IMPLEMENTATION_VERSION_NAME),
    ):
        if name not in meta:
            setattr(meta, name, value)


def _group_2(meta: ElementMap) -> list[_Piece]:
    """Return the encoded group 0002, with a correct group length if it has one."""
    if 0x00020000 in meta:
        body = copy_level(meta, ElementMap())
        del body[0x00020000]
        length = pieces_of(body, False, False)[1]
        if meta[0x00020000].value != length:
            meta.add(DataElement(0x00020000, "UL", length))
    return pieces_of(meta, False, False)[0]


# ------------------------------------------------------------------ targets ---


def _chunks(pieces: list[_Piece]) -> Iterator[bytes]:
    """Yield the bytes of pieces, in order, in chunks of about 1 MiB."""
    small: list[bytes] = []
    held = 0
    for piece in pieces:
        portions: Iterable[bytes]
        if isinstance(piece, bytes):
            portions = [piece]
        else:
            file, offset, length = piece
            portions = (
                file.read(at, min(_CHUNK, offset + length - at))
                for at in range(offset, offset + length, _CHUNK)
            )
        for data in portions:
            small.append(data)
            held += len(data)
            if held >= _CHUNK:
                yield b"".join(small) if len(small) > 1 else data
                small, held = [], 0
    if small:
        yield b"".join(small)


def _write_object(target: WritableFile, ds: ElementMap, pieces: list[_Piece]) -> None:
    file = ds.file
    if file is not None and not file.mappable:
        file.load()  # target may be the object that it is read from
    for data in _chunks(pieces):
        target.write(data)


def _check_path(path: str | bytes) -> None:
    """Raise WriteError for a path that no file can have."""
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise WriteError(
            "the path has a character that no file name can have", filename=path
        ) from error
    if b"\0" in encoded:
        raise WriteError("the path contains a NUL character", filename=path)


def _write_path(
    path: str | bytes, ds: ElementMap, pieces: list[_Piece], overwrite: bool, durable: bool
) -> None:
    _check_path(path)
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(17, os.strerror(17), path)
    path = os.path.realpath(path)  # replace the file that a link leads to, not the link
    try:
        old = os.stat(path)
    except OSError:
        old = None
    if old is not None and not stat.S_ISREG(old.st_mode):
        with open(path, "wb") as out:  # a device or pipe cannot be replaced
            _write_object(out, ds, pieces)
        return
    file = ds.file
    if old is not None and file is not None and file.mappable:
        if os.name == "nt":
            file.load()  # Windows does not replace an open file
        else:
            keep_open(file, old.st_dev, old.st_ino)

    def fill(out: BufferedWriter) -> None:
        for data in _chunks(pieces):
            out.write(data)
        if old is not None:
            os.chmod(out.name, stat.S_IMODE(old.st_mode))

    write_atomically(path, fill, overwrite=overwrite, durable=durable)
