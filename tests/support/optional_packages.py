"""Large libraries that some tests and benches need and not everybody has."""

import contextlib
import importlib
import logging
import os
import shutil
import tempfile

import pytest


def guest(name, *parts):
    """A package with these modules of it, or the tests that need it are skipped
    by its name; FASTDCM_REQUIRE_PEERS=1 lets nothing be missing."""
    try:
        for module in (name, *parts):
            importlib.import_module(module)
    except ImportError as error:
        if os.environ.get("FASTDCM_REQUIRE_PEERS") == "1":
            raise
        pytest.skip(f"peer missing: {name}: {error}", allow_module_level=True)
    return importlib.import_module(name)


# By default Ray listens on every address of a Linux machine. Read at its import.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@contextlib.contextmanager
def two_workers(memory=256 << 20):
    """Ray on two workers of this machine, on loopback; memory: bytes of its
    store of objects."""
    import ray.data

    folder = tempfile.mkdtemp(prefix="fd")  # short: it is part of a socket's name
    ray.init(
        "local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=memory,
        _temp_dir=folder,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield ray
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
