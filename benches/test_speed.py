"""Benchmark each library on a few files with `pytest benches --benchmark-compare`.

benches/report.py makes the interleaved comparison of many files.
"""

import data
import peers
import pytest

COUNT = 200


@pytest.fixture(scope="module")
def ct():
    return data.ct(count=COUNT)


@pytest.fixture(scope="module")
def mr():
    return data.mr(count=2)


@pytest.mark.parametrize("library", peers.TAGS)
def test_tags(benchmark, ct, library):
    found = benchmark.pedantic(peers.TAGS[library], (ct,), rounds=3, warmup_rounds=1)
    assert peers.as_text(found) == peers.as_text(peers.tags_pydicom(ct))


@pytest.mark.parametrize("library", peers.ELEMENTS)
def test_elements(benchmark, ct, library):
    found = benchmark.pedantic(peers.ELEMENTS[library], (ct,), rounds=3, warmup_rounds=1)
    assert found == [data.CT_ELEMENTS - 1] * COUNT


@pytest.mark.parametrize("library", peers.ELEMENTS)
def test_elements_of_functional_groups(benchmark, mr, library):
    found = benchmark.pedantic(peers.ELEMENTS[library], (mr,), rounds=1)
    assert found == [data.MR_ELEMENTS - 1] * 2


@pytest.mark.parametrize("library", peers.PIXELS)
def test_pixels(benchmark, ct, library):
    found = benchmark.pedantic(peers.PIXELS[library], (ct[:50],), rounds=3, warmup_rounds=1)
    assert found == peers.pixels_pydicom(ct[:50])
