"""Read the volumes of many series: `read_volumes`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from fastdcm.errors import DicomError, Finding
from fastdcm.volume.dimensions import Dims
from fastdcm.volume.result import Volume, VolumeError
from fastdcm.volume.slices import SourceImage, TagExpression, VolumeSource
from fastdcm.volume.values.colors import ColorMode
from fastdcm.volume.values.quantities import Quantity
from fastdcm.volume.volume import Options, path_of, read_images, series_of, volumes_of_images


def read_volumes(
    source: VolumeSource,
    *,
    tags: Sequence[TagExpression] = (),
    on_problem: Literal["reject", "split", "keep"] = "reject",
    rescale: bool = True,
    color: ColorMode = "rgb",
    quantity: Quantity | None = None,
    padding: float | None = None,
    dims: Dims = None,
    like: Volume | None = None,
    resample: bool = False,
    tolerance: float = 0.0,
    threads: int | None = None,
) -> Iterator[Volume | VolumeError]:
    """Read every series of a source, one after the other.

    The headers of all files are read first, the pixels of a series when its volume is
    requested. So one volume is in memory at a time, unless the caller keeps more.

    Parameters
    ----------
    source, tags, rescale, color, quantity, padding, dims, like, resample, tolerance, threads
        As for `read_volume`.
    on_problem : "reject", "split" or "keep"
        As for `read_volume`, for each series by itself; "split" gives several volumes for
        one series.

    Yields
    ------
    Volume or VolumeError
        In the order in which the source has the first file of each series. A series that
        is not one volume, or cannot be read, is a VolumeError, which is not raised; its
        `series_instance_uid` names the series. Files that cannot be read at all, and a
        source without images, are a VolumeError without series, at the end.

    Raises
    ------
    ValueError, TypeError, FileNotFoundError
        As `read_volume`.

    Examples
    --------
    >>> for volume in fastdcm.read_volumes("study", dims="auto"):  # doctest: +SKIP
    ...     print(volume.series_instance_uid, volume)
    """
    options = Options(
        tags=tags,
        on_problem=on_problem,
        rescale=rescale,
        color=color,
        quantity=quantity,
        padding=padding,
        dims=dims,
        like=like,
        resample=resample,
        tolerance=tolerance,
        threads=threads,
    )
    findings: list[Finding] = []
    images = read_images(source, options, findings)
    by_series: dict[str | None, list[SourceImage]] = {}
    for image in images:
        by_series.setdefault(series_of(image), []).append(image)
    return _volumes(by_series, options, findings, path_of(source))


def _volumes(
    by_series: dict[str | None, list[SourceImage]],
    options: Options,
    findings: list[Finding],
    path: str | bytes | None,
) -> Iterator[Volume | VolumeError]:
    is_empty = not by_series
    while by_series:
        uid = next(iter(by_series))
        images = by_series.pop(uid)
        try:
            yield from volumes_of_images(images, options, [], path, uid)
        except VolumeError as error:
            yield error
        except DicomError as error:
            found = Finding("bad-image", str(error), True, {"errors": [error]})
            yield VolumeError([found], path, uid)
    if is_empty or any(finding.problem for finding in findings):
        yield VolumeError(findings, path)
