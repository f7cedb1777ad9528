"""Run the command line as ``python -m fastdcm``."""

from fastdcm.cli import main

if __name__ == "__main__":
    main()
