"""Files in RAM as a journal's store, with flash that fills, fails, tears and flips bits."""

import errno


class Store:
    """files: name -> bytearray. capacity: bytes of all files together.

    fail_at: the how-manieth change (append, remove, rename) fails, counted in `changes`; `torn` of
    an append's bytes are written all the same. fail_with: its errno."""

    def __init__(self, files: dict[str, bytearray] | None = None, capacity: int = 1 << 21) -> None:
        self.files = {} if files is None else files
        self.capacity = capacity
        self.changes = 0
        self.fail_at = -1
        self.torn = 0
        self.fail_with = errno.EIO
        self.read_fails = False
        self.written = 0
        self.reads = 0

    def copy(self) -> "Store":
        return Store({name: bytearray(data) for name, data in self.files.items()}, self.capacity)

    def _change(self) -> bool:
        self.changes += 1
        return self.changes - 1 == self.fail_at

    def names(self) -> list[str]:
        return list(self.files)

    def size(self, name: str) -> int:
        return len(self._file(name))

    def _file(self, name: str) -> bytearray:
        if name not in self.files:
            raise OSError(errno.ENOENT)
        return self.files[name]

    def read_at(self, name: str, offset: int, buffer: bytearray | memoryview) -> int:
        self.reads += 1
        if self.read_fails:
            raise OSError(errno.EIO)
        found = self._file(name)[offset : offset + len(buffer)]
        buffer[: len(found)] = found
        return len(found)

    def append(self, name: str, *chunks: bytes) -> None:
        data = b"".join(bytes(chunk) for chunk in chunks)
        fails = self._change()
        if not fails and len(data) > self.free_bytes():
            raise OSError(errno.ENOSPC)
        file = self.files.setdefault(name, bytearray())
        file += data[: self.torn] if fails else data
        if fails:
            raise OSError(self.fail_with)
        self.written += len(data)

    def truncate(self, name: str, size: int) -> None:
        if self._change():
            raise OSError(self.fail_with)
        del self._file(name)[size:]

    def remove(self, name: str) -> None:
        if self._change():
            raise OSError(self.fail_with)
        self._file(name)
        del self.files[name]

    def rename(self, old: str, new: str) -> None:
        if self._change():
            raise OSError(self.fail_with)
        self.files[new] = self._file(old)
        del self.files[old]

    def free_bytes(self) -> int:
        return self.capacity - sum(len(data) for data in self.files.values())


class Faulty(Store):
    """`count` reads or writes (`operation`: append, remove, rename) from the `first` on fail with
    `code`; nothing of them is done. seen: how many there were."""

    def __init__(self, operation: str, code: int, first: int, count: int) -> None:
        super().__init__()
        self.operation = operation
        self.code = code
        self.first = first
        self.count = count
        self.seen = 0

    def _fault(self, operation: str) -> None:
        if operation == self.operation:
            self.seen += 1
            if self.first < self.seen <= self.first + self.count:
                raise OSError(self.code)

    def read_at(self, name: str, offset: int, buffer: bytearray | memoryview) -> int:
        self._fault("read")
        return super().read_at(name, offset, buffer)

    def append(self, name: str, *chunks: bytes) -> None:
        self._fault("write")
        super().append(name, *chunks)

    def remove(self, name: str) -> None:
        self._fault("write")
        super().remove(name)

    def rename(self, old: str, new: str) -> None:
        self._fault("write")
        super().rename(old, new)
