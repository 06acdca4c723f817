"""`vfs` with the rom_ioctl that the PC's build lacks."""

from machine import rom_ioctl
from vfs import VfsFat, VfsLfs1, VfsLfs2, VfsPosix, VfsRom, mount, umount

__all__ = ["VfsFat", "VfsLfs1", "VfsLfs2", "VfsPosix", "VfsRom", "mount", "rom_ioctl", "umount"]
