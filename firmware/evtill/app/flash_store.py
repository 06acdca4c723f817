"""The files of a journal or ring in a directory of a mounted filesystem (LittleFS).

LittleFS makes an append visible when the file is synchronised, whole or not at all, and replaces
a file atomically by renaming (littlefs DESIGN.md, "The commit"). MicroPython's flush() of a file
is its synchronisation, down to the block device.
"""

import os


class FlashStore:
    """directory: made when it is missing. See core.frames for what the methods promise."""

    def __init__(self, directory):
        self._directory = directory
        self._reading = None  # (name, file): the last file read stays open
        try:
            os.mkdir(directory)
        except OSError as e:
            if e.args[0] != 17:  # EEXIST
                raise

    def _path(self, name):
        return self._directory + "/" + name

    def names(self):
        return [entry[0] for entry in os.ilistdir(self._directory)]

    def size(self, name):
        return os.stat(self._path(name))[6]

    def read_at(self, name, offset, buffer):
        if self._reading is None or self._reading[0] != name:
            self._close()
            self._reading = (name, open(self._path(name), "rb"))
        file = self._reading[1]
        try:
            file.seek(offset)
            return file.readinto(buffer)
        except OSError:
            self._close()  # LittleFS would take what it failed to read for read
            raise

    def append(self, name, *chunks):
        self._close()
        with open(self._path(name), "ab") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()

    def remove(self, name):
        self._close()
        os.remove(self._path(name))

    def rename(self, old, new):
        self._close()
        os.rename(self._path(old), self._path(new))

    def free_bytes(self):
        found = os.statvfs(self._directory)
        return found[0] * found[3]

    def _close(self):
        if self._reading is not None:
            file = self._reading[1]
            self._reading = None
            file.close()
