"""What several commands share."""

import argparse
from collections.abc import Callable
from pathlib import Path

from evtill.core.errors import ConfigError

# (name, what runs it, help) -> its parser, which has --db already. A name of two words, such as
# "ledger check", is a command of a noun.
AddCommand = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]


def broker(arguments: argparse.Namespace) -> str:
    """The URL that --broker gives, or the file that it names. Raises ConfigError."""
    url: str = arguments.broker
    return read_text(Path(url[1:])).strip() if url.startswith("@") else url


def read_text(path: Path) -> str:
    """A text file's content. Raises ConfigError."""
    try:
        return path.read_text()
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{path}: cannot be read") from error
