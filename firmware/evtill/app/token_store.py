"""The token list in flash: tokens.bin, with its stamp behind it.

A list without a stamp (put there by hand) has version 0 and is hashed at each boot.
"""

import binascii
import os

from evtill.app import files
from evtill.core.tokens import STAMP, TokenList, unstamp

_FILE = "/tokens.bin"


class TokenStore:
    """find: core.tokens.TokenList.find of the list in `folder`. version: of the artefact that it
    came in; sha256: its hash in hex. Raises TokenListError, OSError."""

    def __init__(self, folder, key):
        self._path = folder + _FILE
        self._key = key
        self._file = None
        for name in (".part", ".new"):  # of an update that the power was cut in
            try:
                os.remove(self._path + name)
            except OSError as e:
                if e.args[0] != 2:  # ENOENT
                    raise
        self.open()

    def open(self):
        """Opens the list that is there now."""
        self.close()
        self.list = found = TokenList(self.read_at, self._key)
        self.find = found.find
        after = os.stat(self._path)[6] - found.size
        if after == 0:
            self.version = 0
            self.sha256 = files.sha256_of(self._path)
            return
        self.version, sha256 = unstamp(self.read_at(found.size, min(after, STAMP + 1)))
        self.sha256 = str(binascii.hexlify(sha256), "ascii")

    def read_at(self, offset, n):
        """n bytes of the file, fewer at its end."""
        try:
            if self._file is None:
                self._file = open(self._path, "rb")
            self._file.seek(offset)
            return self._file.read(n)
        except OSError:
            self._file = None  # LittleFS would take what it failed to read for read
            raise

    def close(self):
        """Lets go of the file; it is opened again when it is read."""
        if self._file is not None:
            self._file.close()
            self._file = None
