"""dcmwrite: a data set to a file.

Elements that were not changed are written as the bytes they came in. Two
things are repaired on the way: what the index had to repair (a length that
ran past the end, a delimiter that was missing, tags out of order), and group
lengths (retired, PS3.5 7.2), which go when their group was changed.
"""

import os
import stat
import zlib

from fastdcm._util.atomic import write_whole
from fastdcm.core._elements import ElementMap
from fastdcm.core._encode import (
    copy_level,
    deflated_span,
    has_fragments,
    is_whole,
    keep_open,
    pieces_of,
)
from fastdcm.errors import WriteError
from fastdcm.uid import TRANSFER_SYNTAXES

IMPLEMENTATION_CLASS_UID = "2.25.143289023768514729341063822104970166457"
IMPLEMENTATION_VERSION_NAME = "FASTDCM"

_CHUNK = 1 << 20


def dcmwrite(
    target,
    ds,
    enforce_file_format=False,
    *,
    implicit_vr=None,
    little_endian=None,
    transfer_syntax=None,
    overwrite=True,
    durable=True,
    strict=True,
):
    """Writes a data set.

    Parameters
    ----------
    target : str, bytes or os.PathLike path, or a file object with ``write``.
        A path gets its new content at once or not at all: it is written to
        another name in the same folder first.
    ds : Dataset
    enforce_file_format : bool
        Write a file as PS3.10 7.1 asks: preamble, and all that the file meta
        information needs. Else both are written as far as they are there.
    implicit_vr, little_endian : bool
        The encoding, where no transfer syntax tells it.
    transfer_syntax : str
        In place of the one in ``ds.file_meta``, which is left as it is.
    overwrite : bool
        If False, FileExistsError when there is such a path.
    durable : bool
        Return when the disk has it (fsync).
    strict : bool
        Refuse text that its character set cannot express and numbers that IS
        cannot; else characters become question marks.

    Raises WriteError (a DicomError and a ValueError) for what cannot be
    written, so also where pixel data would have to be compressed,
    decompressed or recoded.
    """
    for group in {tag >> 16 for tag in ds.keys()} & {0, 2}:
        raise WriteError(
            "command set elements (group 0000) are no part of a file"
            if group == 0
            else "elements of group 0002 belong to ds.file_meta"
        )
    preamble = getattr(ds, "preamble", None)
    if preamble and len(preamble) != 128:
        raise WriteError(f"a preamble has 128 bytes, not {len(preamble)}")
    meta = ElementMap()
    if getattr(ds, "file_meta", None) is not None:
        meta = copy_level(ds.file_meta, ElementMap())
    if transfer_syntax is not None and meta.get("TransferSyntaxUID") != transfer_syntax:
        meta.TransferSyntaxUID = transfer_syntax
    implicit, little = _encoding(ds, meta, implicit_vr, little_endian)
    if enforce_file_format:
        _complete(meta, ds, implicit, little)
        preamble = preamble or bytes(128)
    syntax = TRANSFER_SYNTAXES.get(meta.get("TransferSyntaxUID"))
    _refuse_recoding(ds, meta.get("TransferSyntaxUID"), syntax)

    pieces = [preamble, b"DICM"] if preamble else []
    if meta:
        pieces += _group_2(meta)
    pieces += _data_set(ds, syntax, implicit, little, strict)
    if hasattr(target, "write"):
        _write_object(target, ds, pieces)
    else:
        _write_path(os.fspath(target), ds, pieces, overwrite, durable)


# ----------------------------------------------------------------- encoding ---


def _encoding(ds, meta, implicit_vr, little_endian):
    """(implicit VR, little endian) to write in."""
    uid = meta.get("TransferSyntaxUID")
    syntax = TRANSFER_SYNTAXES.get(uid)
    if syntax is not None:
        for name, asked, told in (
            ("implicit_vr", implicit_vr, syntax.implicit),
            ("little_endian", little_endian, not syntax.big_endian),
        ):
            if asked is not None and asked != told:
                raise WriteError(f"{name}={asked} contradicts the transfer syntax {uid}")
        return syntax.implicit, not syntax.big_endian
    if uid and not uid.is_private:
        raise WriteError(f"{uid} ({uid.name}) is no transfer syntax")
    implicit, little = ds.original_encoding
    if implicit_vr is not None:
        implicit, little = implicit_vr, little_endian is not False
    if implicit is None or little is None:
        raise WriteError(
            "how to encode the data set is not known: set TransferSyntaxUID in "
            "ds.file_meta, or give implicit_vr and little_endian"
        )
    if implicit and not little:
        raise WriteError("there is no implicit VR big endian")
    return implicit, little


def _refuse_recoding(ds, uid, syntax):
    """Pixel data that was read can only be written in an encoding that leaves
    its bytes as they are."""
    fragments = has_fragments(ds)
    file = getattr(ds, "_source", None)
    source = file.transfer_syntax if file is not None else None
    if fragments is None or syntax is None or source == uid:
        return
    before = TRANSFER_SYNTAXES.get(source)
    pixels = before.pixels if before is not None else "" if source else syntax.pixels
    if fragments != syntax.encapsulated or source and (fragments or pixels != syntax.pixels):
        raise WriteError(
            f"pixel data would have to be recoded from {source or 'an unknown transfer syntax'} "
            f"to {uid}: set PixelData to what it is to become, or keep the transfer syntax",
            path="(7FE0,0010)",
        )


def _data_set(ds, syntax, implicit, little, strict):
    """The pieces of the data set; a deflate stream if its transfer syntax
    says so (PS3.5 A.5)."""
    encapsulated = -1 if syntax is None else int(syntax.encapsulated)
    if syntax is None or not syntax.deflated:
        return pieces_of(ds, implicit, not little, encapsulated, strict)[0]
    file = getattr(ds, "_source", None)
    if (
        file is not None
        and file.deflated
        and file.transfer_syntax == syntax.uid
        and file.meta is not None
        and not ds.is_changed
        and is_whole(ds)
    ):
        return [(file, *deflated_span(file))]
    packer = zlib.compressobj(wbits=-15)
    out = [
        packer.compress(data)
        for data in _chunks(pieces_of(ds, implicit, not little, encapsulated, strict)[0])
    ]
    out.append(packer.flush())
    if sum(map(len, out)) % 2:
        out.append(b"\0")
    return out


# ------------------------------------------------- file meta information ---


def _complete(meta, ds, implicit, little):
    """What PS3.10 7.1 asks for, taken from the data set where it is not there."""
    if not meta.get("TransferSyntaxUID"):
        if not implicit and little:
            raise WriteError(
                "ds.file_meta needs a TransferSyntaxUID: that it is explicit VR "
                "little endian does not tell which"
            )
        meta.TransferSyntaxUID = "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.2"
    for name, source in (
        ("MediaStorageSOPClassUID", "SOPClassUID"),
        ("MediaStorageSOPInstanceUID", "SOPInstanceUID"),
    ):
        uid = ds.get(source)
        if uid and meta.get(name) != uid:
            setattr(meta, name, uid)
        if not meta.get(name):
            raise WriteError(f"ds.file_meta needs a {name}, and there is no {source}")
    for name, value in (
        ("FileMetaInformationGroupLength", 0),
        ("FileMetaInformationVersion", b"\0\1"),
        ("ImplementationClassUID", IMPLEMENTATION_CLASS_UID),
        ("ImplementationVersionName", IMPLEMENTATION_VERSION_NAME),
    ):
        if name not in meta:
            setattr(meta, name, value)


def _group_2(meta):
    """The pieces of group 0002, its length made right when it is there."""
    if 0x00020000 in meta:
        body = copy_level(meta, ElementMap())
        del body[0x00020000]
        length = pieces_of(body, False, False)[1]
        if meta[0x00020000].value != length:
            meta[0x00020000].value = length
    return pieces_of(meta, False, False)[0]


# ------------------------------------------------------------------ targets ---


def _chunks(pieces):
    """The bytes of pieces, in order, in moderate portions."""
    small, held = [], 0
    for piece in pieces:
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


def _write_object(target, ds, pieces):
    file = ds.file
    if file is not None and not file.mappable:
        ds.load()  # it may be read from the very object
    for data in _chunks(pieces):
        target.write(data)


def _write_path(path, ds, pieces, overwrite, durable):
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(17, os.strerror(17), path)
    path = os.path.realpath(path)  # a link goes on leading to the file
    try:
        there = os.stat(path)
    except OSError:
        there = None
    if there is not None and not stat.S_ISREG(there.st_mode):
        with open(path, "wb") as out:  # a device or pipe cannot be replaced
            _write_object(out, ds, pieces)
        return
    file = ds.file
    if there is not None and file is not None and file.mappable:
        if os.name == "nt":
            ds.load()  # a file that is open cannot be replaced there
        else:
            keep_open(file, there.st_dev, there.st_ino)

    def fill(out):
        for data in _chunks(pieces):
            out.write(data)
        if there is not None:
            os.chmod(out.name, stat.S_IMODE(there.st_mode))

    write_whole(path, fill, overwrite=overwrite, durable=durable)
