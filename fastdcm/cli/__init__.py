"""The command line: one module of this package per verb.

Standard output is data, standard error is talk. Exit status: 0 done, 1 found
something, 2 failed.
"""

import importlib
import os
import pkgutil
import sys

try:
    import click
except ImportError:
    sys.exit("error: the command line needs click\nhint: pip install 'fastdcm-dicom[cli]'")

import fastdcm


class Failure(click.ClickException):
    """An error for people: one line, and a hint what to do."""

    exit_code = 2

    def __init__(self, message, hint=None):
        super().__init__(message)
        self.hint = hint

    def show(self, file=None):
        click.echo(f"error: {self.message}", err=True)
        if self.hint:
            click.echo(f"hint: {self.hint}", err=True)


_HINTS = {
    "open": "is the path right, and may you read it?",
    "not-dicom": "`fastdcm scan FOLDER` finds out which files of a folder are DICOM",
    "empty": "`fastdcm scan FOLDER` finds out which files of a folder are DICOM",
    "not-regular": "`fastdcm scan` takes folders",
    "changed": "try again when nobody writes to it",
    "index-in-use": "wait until it is done",
    "index-differs": "give the options that it was made with, or another folder",
    "index-damaged": "delete the folder, and scan again",
    "stream": "check the URL, endpoint and credentials, or try again later",
}


def failure(error):
    """The Failure that tells of a DicomError."""
    return Failure(str(error), _HINTS.get(error.code))


class Verbs(click.Group):
    """The verbs, each imported when it is used, from the module of its name."""

    def list_commands(self, ctx):
        return sorted(self.commands)

    def get_command(self, ctx, cmd_name):
        if cmd_name not in self.commands:
            return None
        return getattr(importlib.import_module(f"fastdcm.cli.{cmd_name}"), cmd_name)

    def invoke(self, ctx):
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
            return status
        except BrokenPipeError:  # who reads our output has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 0

    def main(self, args=None, prog_name="fastdcm", standalone_mode=True, **options):
        """Ends the process, unless standalone_mode is false."""
        options = {"args": args, "prog_name": prog_name, "standalone_mode": False, **options}
        if not standalone_mode:
            return super().main(**options)
        try:
            status = super().main(**options)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            status = 2
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else "fastdcm"
            Failure(error.format_message(), f"{path} --help").show()
            status = 2
        except click.ClickException as error:
            error.show()
            status = 2
        except fastdcm.DicomError as error:
            failure(error).show()
            status = 2
        except OSError as error:
            Failure(f"{error.filename}: {error.strerror}" if error.filename else str(error)).show()
            status = 2
        except ModuleNotFoundError as error:
            extra = {
                "pyarrow": "table",
                "rich": "cli",
                "PIL": "cli",
                "xxhash": "hash",
                "duckdb": "query",
                "obstore": "remote",
                "fsspec": "remote",
                "deltalake": "delta",
            }.get(error.name)
            if extra is None:
                raise
            Failure(f"this needs {error.name}", f"pip install 'fastdcm-dicom[{extra}]'").show()
            status = 2
        except (click.Abort, KeyboardInterrupt):
            click.echo("stopped", err=True)
            status = 130
        sys.exit(status)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(fastdcm.__version__, prog_name="fastdcm")
def main():
    """DICOM for people with millions of files."""


main.commands = {m.name: None for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")}
