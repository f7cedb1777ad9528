"""Large optional libraries that some tests and benchmarks need."""

import contextlib
import importlib
import logging
import os
import shutil
import tempfile

import pytest


def require_package(name, *modules):
    """Return a package after importing it and these modules of it.

    Skips the tests that need it where it is missing, and names it; with
    FASTDCM_REQUIRE_PEERS=1 that is an error.
    """
    try:
        for module in (name, *modules):
            importlib.import_module(module)
    except ImportError as error:
        if os.environ.get("FASTDCM_REQUIRE_PEERS") == "1":
            raise
        pytest.skip(f"peer missing: {name}: {error}", allow_module_level=True)
    return importlib.import_module(name)


# By default Ray listens on all addresses on Linux. It reads these when imported.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@contextlib.contextmanager
def two_workers(memory=256 << 20):
    """Run Ray with two workers on this machine, on the loopback interface.

    memory : bytes of its object store.
    """
    import ray.data

    folder = tempfile.mkdtemp(prefix="fd")  # short: the path of a socket is limited
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
