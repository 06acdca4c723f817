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
        self.folder = folder
        self.path = folder + _FILE
        self.key = key
        self._file = None
        self.tidy()
        self.open()

    def tidy(self):
        """Removes what an update has left that came to nothing."""
        for name in (".part", ".new"):
            files.remove(self.path + name)

    def open(self):
        """Opens the list that is there now."""
        self.close()
        self.find = self._find_again  # not by the list that was here before
        self.list = found = TokenList(self.read_at, self.key)
        after = os.stat(self.path)[6] - found.size
        if after == 0:
            self.version = 0
            self.sha256 = files.sha256_of(self.path)
        else:
            self.version, sha256 = unstamp(self.read_at(found.size, min(after, STAMP + 1)))
            self.sha256 = str(binascii.hexlify(sha256), "ascii")
        self.find = found.find

    def _find_again(self, token):
        """find() after flash did not give the list: perhaps it does now."""
        self.open()
        return self.find(token)

    def installed(self):
        """(version, SHA-256) of the list that is here."""
        return self.version, binascii.unhexlify(self.sha256)

    def swap(self, path):
        """Puts the list that was made ready at `path`, stamp and all, in the place of the old one:
        LittleFS renames whole or not at all. Call it in the thread that finds."""
        self.close()  # a file that was replaced may not be read on
        os.rename(path, self.path)
        self.open()

    def read_at(self, offset, n):
        """n bytes of the file, fewer at its end."""
        try:
            if self._file is None:
                self._file = open(self.path, "rb")
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
