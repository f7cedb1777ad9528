"""Elements of another VR or multiplicity, where volumes expect one value."""

import pytest

import fastdcm
from fastdcm.volume import VolumeError
from support.builder import EXPLICIT_LE, element, sequence
from support.odd_elements import odd_elements
from support.series import cells, codes, encode_image

DOSE = 0x00540016
ATTRIBUTES = {
    "series": (0x0020000E, {}),
    "instance": (0x00080018, {}),
    "position": (0x00200032, {}),
    "orientation": (0x00200037, {}),
    "spacing": (0x00280030, {}),
    "thickness": (0x00180050, {}),
    "between": (0x00180088, {}),
    "image type": (0x00080008, {}),
    "modality": (0x00080060, {}),
    "number": (0x00200013, {}),
    "acquisition": (0x00200012, {}),
    "echo": (0x00180081, {}),
    "echo number": (0x00180086, {}),
    "kernel": (0x00181210, {}),
    "kVp": (0x00180060, {}),
    "temporal position": (0x00200100, {}),
    "shared groups": (0x52009229, {}),
    "groups": (0x52009230, {}),
    "offsets": (0x3004000C, {}),
    "dose scaling": (0x3004000E, {}),
    "slope": (0x00281053, {}),
    "intercept": (0x00281052, {}),
    "modality LUT": (0x00283000, {}),
    "energy windows": (0x00540010, {}),
    "detectors": (0x00540020, {}),
    "slices": (0x00540080, {}),
    "detector information": (0x00540022, {}),
    "increment": (0x00280009, {}),
    "reference": (0x00200052, {}),
    "class": (0x00080016, {}),
    "photometric": (0x00280004, {}),
    "padding": (0x00280120, {"padding": 0}),
    "padding limit": (0x00280121, {"padding": 0}),
    "imager spacing": (0x00181164, {}),
    "page spacing": (0x00182010, {}),
    "regions": (0x00186011, {}),
    "repetition time": (0x00180080, {"dims": "auto"}),
    "frame time": (0x00181063, {"dims": "auto"}),
    "frame times": (0x00181065, {"dims": "auto"}),
    "reference time": (0x00541300, {"dims": "auto"}),
    "acquisition time": (0x00080032, {"dims": "auto"}),
    "acquisition date and time": (0x0008002A, {"dims": "auto"}),
    "b-value": (0x00189087, {"dims": "auto"}),
    "direction": (0x00189089, {"dims": "auto"}),
    "trigger time": (0x00181060, {"dims": "auto"}),
    "units": (0x00541001, {"quantity": "suv"}),
    "SUV type": (0x00541006, {"quantity": "suv"}),
    "corrections": (0x00280051, {"quantity": "suv"}),
    "decay": (0x00541102, {"quantity": "suv"}),
    "weight": (0x00101030, {"quantity": "suv"}),
    "series time": (0x00080031, {"quantity": "suv"}),
    "dose": (DOSE, {"quantity": "suv"}),
    "mapping": (0x00409096, {"quantity": "rwv"}),
    "segmentation": (0x00620001, {"like": True}),
    "fraction": (0x0062000E, {"like": True}),
}
PET = {
    0x00080021: element(0x00080021, "DA", "20240102"),
    0x00080031: element(0x00080031, "TM", "1300"),
    0x00080032: element(0x00080032, "TM", "1305"),
    0x00101030: element(0x00101030, "DS", 70),
    0x00280051: element(0x00280051, "CS", ["ATTN", "DECY"]),
    0x00541001: element(0x00541001, "CS", "BQML"),
    0x00541102: element(0x00541102, "CS", "START"),
    DOSE: sequence(
        DOSE,
        [
            element(0x00181072, "TM", "1200")
            + element(0x00181074, "DS", 3e8)
            + element(0x00181075, "DS", 6000)
        ],
    ),
}


def outcome(source, options):
    """Return the arrays, axes and findings of the volumes of a source, or the codes of its error.

    Also checks that the volumes can be shown.
    """
    try:
        volumes = fastdcm.read_volume(source, on_problem="split", **options)
    except VolumeError as error:
        return codes(error.findings)
    except fastdcm.DicomError as error:
        return error.code
    for volume in volumes:
        assert volume.array.shape[-2:] == (4, 6) or volume.array.shape[-1] == 3
        assert volume.dims[-1] in "x channel"
        repr(volume)
    return [(v.array.tolist(), v.affine.tolist(), v.dims, codes(v.findings)) for v in volumes]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_volume_or_a_typed_error(put, name):
    tag, options = ATTRIBUTES[name]
    position = None if "spacing" in name or name in ("regions", "frame time") else [0, 0, 0]
    if options.get("like"):
        options = {"like": fastdcm.read_volume(put(encode_image(cells(0), position=[0, 0, 0])))}
    for n, odd in enumerate(odd_elements(tag)):
        raw = {**PET, tag: odd}
        path = put(
            encode_image(cells(n), raw, position=position, modality="PT", spacing=[1, 1]),
            transfer_syntax=EXPLICIT_LE,
        )
        of_file, of_dataset = outcome([path], options), outcome([fastdcm.dcmread(path)], options)
        assert of_file == of_dataset, odd
        list(fastdcm.read_volumes([path], **options))
