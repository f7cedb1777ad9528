"""Import optional packages, with a hint when one is missing."""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def require(module: str, purpose: str, extra: str) -> ModuleType:
    """Import and return an optional package.

    Raises ModuleNotFoundError, whose message says what needs it and how to install it:
    `purpose` is the subject of the sentence, `extra` the extra of fastdcm-dicom.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:  # the package is there, but one that it needs is not
            raise
        raise ModuleNotFoundError(
            f"{purpose} needs {module}: pip install 'fastdcm-dicom[{extra}]'", name=module
        ) from None
