"""Every stored value of every file with pixels, beside pydicom's.

The reference is ``Decoder.as_array(raw=True)`` with GDCM's plugin where pydicom
needs one, then the others', then GDCM alone, which reads what its plugin
refuses. Lossless syntaxes agree bit for bit. Lossy ones may differ by LOSSY,
the rounding of another build of the same transforms.

Differences, and files that only one of the two reads, are listed below with the reason.
"""

import importlib.util
import os

import numpy as np
import pydicom
import pytest
from pydicom.pixels import get_decoder

import fastdcm

pytestmark = pytest.mark.usefixtures("quiet")

LOSSY = 1
LOSSY_SYNTAXES = {
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.203",
}

# Reason: names of the files that GDCM decodes, and of those that only
# fastdcm decodes.
BY_GDCM = {
    "JPEG Extended of 12 bits, which its plugin refuses": {
        "JPEG-lossy.dcm",
        "JPGExtended.dcm",
        "RG2_JPLY.dcm",
        "RG2_JPLY_fixed.dcm",
    },
}
ONLY_OURS = {
    "one bit in RLE Lossless: pydicom and its plugins refuse it": {
        "liver_rle.dcm",
        "liver_nonbyte_aligned_rle.dcm",
    },
    "JPEG-LS of 7 bits: GDCM refuses it": {"JLSL_08_07_0_1F.dcm"},
    "Deflated Image Frame Compression: pydicom has no decoder": {"liver_deflate.dcm"},
    "without a Basic Offset Table item: pydicom expects one": {
        "jpeg_baseline_synthetic.dc667cd.dcm"
    },
    "PlanarConfiguration is missing: taken as 0, to pydicom an error": {
        "secondary_capture_rgb.dcm",
        "TC0327_mono2_spp3.dcm",
    },
    "PhotometricInterpretation is empty, to pydicom an error; it says nothing of stored values": {
        "TC0333_pi_empty.dcm",
    },
    "native cells under JPEG 2000: decoded as what they are": {
        "generated_encapsulated_defined_bot_1_to_1.dcm",
        "generated_encapsulated_defined_bot_2_to_1.dcm",
        "generated_encapsulated_empty_bot_1_to_1.dcm",
        "generated_encapsulated_empty_bot_2_to_1.dcm",
    },
    "no prefix DICM after the preamble, whose zero bytes are no element": {
        "TC0383_no_dicm.dcm",
    },
    "NumberOfFrames is no number: one frame is read": {"badVR.dcm"},
    "an unknown transfer syntax: its native pixels are read": {
        "TC0401_invalid_ts.dcm",
    },
    "pydicom reads the data set in another way and finds no pixels (see test_oracle.py)": {
        "no_meta.dcm",
        "emri_small_jpeg_2k_lossless_too_short.dcm",
        "TC0395_meta_glen_max.dcm",
        "TC0475_meta_0001_vr_5a5a.dcm",
        "TC0499_meta_0001_vr_2055.dcm",
        "TC0523_meta_0002_vr_7569.dcm",
        "TC0547_meta_0003_vr_7371.dcm",
        "TC0571_meta_0010_vr_ffff.dcm",
        "TC0643_meta_ALL_vr_5a5a.dcm",
        "TC0667_meta_ALL_vr_2055.dcm",
    },
}
ASK_GDCM = {name for names in BY_GDCM.values() for name in names}
LISTED = {name for names in ONLY_OURS.values() for name in names}


def ours(path):
    try:
        return fastdcm.dcmread(str(path), force=True).pixel_array
    except AttributeError as error:
        assert "no pixel data" in str(error)
        return None
    except fastdcm.DicomError as error:
        return error


def by_gdcm(path, like):
    """What GDCM reads without pydicom, as the type it has to be. (It aborts
    the process on some damaged files, so it decodes only these.)"""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    raw = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(raw, like.dtype).reshape(like.shape)


def theirs(path):
    """(array, transfer syntax) by the first plugin that decodes, or (None, ...)."""
    ds = pydicom.dcmread(path, force=True)
    if not any(
        keyword in ds for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    ):
        return None, ""
    meta = getattr(ds, "file_meta", {})
    if "TransferSyntaxUID" not in meta:
        ds.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian
            if ds.original_encoding[0]
            else pydicom.uid.ExplicitVRLittleEndian
        )
    syntax = ds.file_meta.TransferSyntaxUID
    decoder = get_decoder(syntax)
    plugins = [""]
    if syntax.is_encapsulated:
        plugins = [
            name
            for name in ("gdcm", "pylibjpeg", "pydicom", "pillow")
            if name in decoder.available_plugins
        ]
    for plugin in plugins:
        try:
            return decoder.as_array(ds, raw=True, decoding_plugin=plugin)[0], syntax
        except Exception:
            continue
    return None, syntax


@pytest.fixture(scope="module")
def plugins():
    """The modules that pydicom decodes compressed pixels with."""
    for module in ("gdcm", "openjpeg", "imagecodecs"):
        if importlib.util.find_spec(module) is None:
            if os.environ.get("FASTDCM_REQUIRE_PEERS") == "1":
                pytest.fail(f"peer missing: {module}")
            pytest.skip(f"peer missing: {module}")


def compare(path):
    """None, or what differs, in words; and whether anything was compared."""
    mine = ours(path)
    try:
        expected, syntax = theirs(path)
    except Exception:  # of reading, or of attributes
        expected, syntax = None, ""
    if path.name in ASK_GDCM and isinstance(mine, np.ndarray):
        assert expected is None
        expected = by_gdcm(path, mine)
    if path.name in LISTED:
        if not isinstance(mine, np.ndarray):
            return f"is listed, but is not decoded: {mine}", True
        return (None if expected is None else "is listed, but a peer decodes it"), True
    if expected is None:
        if isinstance(mine, np.ndarray):
            return "no other library decodes it", True
        return None, False
    if not isinstance(mine, np.ndarray):
        return f"is not decoded: {mine}", True
    if mine.shape != expected.shape or mine.dtype.newbyteorder("=") != expected.dtype.newbyteorder(
        "="
    ):
        return f"{mine.dtype}{mine.shape}, not {expected.dtype}{expected.shape}", True
    if not mine.flags.writeable:
        return "is read-only", True
    if mine.tobytes() == expected.astype(mine.dtype).tobytes():
        return None, True
    if syntax in LOSSY_SYNTAXES:
        most = np.abs(mine.astype(float) - expected).max()
        if most <= LOSSY:
            return None, True
        return f"differs by up to {most}", True
    return f"{(mine != expected).mean():.1%} of the values differ", True


def run(files):
    wrong, compared = [], 0
    for path in files:
        difference, counts = compare(path)
        compared += counts
        if difference:
            wrong.append(f"{path.name}: {difference}")
    assert not wrong, "\n".join(wrong)
    return compared


def test_files_of_pydicom(plugins, pydicom_files):
    assert run(pydicom_files) > 60


def test_files_of_the_corpus(plugins, corpus_files):
    assert run(corpus_files) > 150


def test_one_frame_is_what_the_array_holds(plugins, pydicom_files):
    """ds.frames decodes each by itself."""
    seen = 0
    for path in pydicom_files:
        array = ours(path)
        if isinstance(array, np.ndarray) and array.size < 1 << 23:
            frames = fastdcm.dcmread(str(path), force=True).frames
            stack = array if len(frames) > 1 else array[None]
            for i in {0, len(frames) // 2, len(frames) - 1}:
                assert np.array_equal(frames[i], stack[i], equal_nan=array.dtype.kind == "f"), (
                    path.name
                )
            seen += len(frames) > 1
    assert seen > 5
