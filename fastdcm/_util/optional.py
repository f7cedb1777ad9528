"""Import optional packages, with a hint when one is missing."""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def require(module: str, purpose: str, extra: str | None = None) -> ModuleType:
    """Import and return an optional package.

    Raises ModuleNotFoundError, whose message says what needs it and how to install it:
    `purpose` is the subject of the sentence, `extra` the extra of fastdcm-dicom, None for
    a package that is in none.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:  # the package is there, but one that it needs is not
            raise
        package = f"'fastdcm-dicom[{extra}]'" if extra else module
        raise ModuleNotFoundError(
            f"{purpose} needs {module}: pip install {package}", name=module
        ) from None
