"""Maps ROMFS images into memory: .mpy files in them run in place, outside of the heap."""

import ffi
import uctypes
import vfs

_RDONLY = 0
_PROT_READ = 1
_MAP_SHARED = 1
_HEADER = b"\xd2\xcd\x31"  # ROMFS magic

_libc = ffi.open("libc.so.6")
_mmap = _libc.func("P", "mmap", "PPiiiP")
_open = _libc.func("i", "open", "si")


def mount(path, offset, size, where):
    """Mounts the ROMFS at `offset` of the file `path`, if there is one. Returns whether."""
    fd = _open(path, _RDONLY)
    address = _mmap(None, size, _PROT_READ, _MAP_SHARED, fd, offset)
    image = uctypes.bytearray_at(address, size)
    if image[:3] != _HEADER:
        return False
    vfs.mount(vfs.VfsRom(image), where)
    return True
