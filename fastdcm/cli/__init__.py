"""Command line interface: each command is one module of this package.

Data goes to standard output, messages go to standard error. Exit status: 0 done,
1 findings (``--fail-on-error``), 2 failed, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from typing import IO, Any, NoReturn

try:
    import click
except ImportError:
    sys.exit("error: the command line needs click\nhint: pip install 'fastdcm-dicom[cli]'")

import fastdcm
from fastdcm.cli._output import print_any_text, print_line
from fastdcm.errors import DicomError


class Failure(click.ClickException):
    """An error message of one line, with an optional hint about what to do."""

    exit_code = 2

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the error and its hint to standard error."""
        print_line(f"error: {self.message}", err=True)
        if self.hint:
            print_line(f"hint: {self.hint}", err=True)


_HINTS = {
    "open": "check that the path exists and that you may read it",
    "not-dicom": "`fastdcm scan FOLDER` lists which files of a folder are DICOM",
    "empty": "`fastdcm scan FOLDER` lists which files of a folder are DICOM",
    "not-regular": "`fastdcm scan` accepts folders",
    "table": "give a table that has the paths in a column `path`",
    "changed": "try again when no other program writes to the file",
    "index-in-use": "wait until the other process has finished",
    "index-differs": "repeat the options the index was created with, or choose another folder",
    "index-damaged": "delete the folder and scan again",
    "stream": "check the URL, endpoint and credentials, or try again later",
}
# The extra of fastdcm-dicom that installs a module.
_EXTRAS = {
    "pyarrow": "table",
    "rich": "cli",
    "PIL": "cli",
    "xxhash": "hash",
    "duckdb": "query",
    "obstore": "remote",
    "fsspec": "remote",
    "deltalake": "delta",
    "nibabel": "volume",
}


def failure(error: DicomError) -> Failure:
    """Return the message and the hint for a DicomError."""
    return Failure(str(error), _HINTS.get(error.code))


def _failure_for(error: Exception) -> Failure | None:
    """Return the message for an error that a command may raise, None for a bug."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "fastdcm"
        return Failure(error.format_message(), f"{command} --help")
    if isinstance(error, click.ClickException):
        return Failure(error.format_message())
    if isinstance(error, DicomError):
        return failure(error)
    if isinstance(error, OSError):
        return Failure(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        hint = f"pip install 'fastdcm-dicom[{_EXTRAS[error.name]}]'"
        return Failure(f"this command needs {error.name}", hint)
    return None


class CommandGroup(click.Group):
    """The commands, each imported from the module of its name when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, sorted."""
        modules = (module.name for module in pkgutil.iter_modules(__path__))
        return sorted(name for name in modules if not name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, or None when there is none of that name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command = getattr(importlib.import_module(f"fastdcm.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and return its exit status."""
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
            return status
        except BrokenPipeError:  # the program that reads our output has closed it, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 0

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = "fastdcm",
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line; exit the process unless `standalone_mode` is False."""
        print_any_text()

        def run() -> Any:
            return super(CommandGroup, self).main(
                args, prog_name, complete_var, standalone_mode=False, **extra
            )

        return _exit_with(run) if standalone_mode else run()


def _exit_with(run: Callable[[], Any]) -> NoReturn:
    """Call `run`, print what went wrong, and exit with its status."""
    try:
        status = run()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        status = 130
    except Exception as error:
        message = _failure_for(error)
        if message is None:
            raise
        message.show()
        status = 2
    sys.exit(status)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(fastdcm.__version__, prog_name="fastdcm")
def main() -> None:
    """Scan, query, inspect and draw DICOM files."""
