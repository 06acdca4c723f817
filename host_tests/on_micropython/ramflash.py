"""Flash in RAM for LittleFS: counts programs and erases, and can lose its power at any of them."""

import vfs

BLOCK = 4096
NOTHING, HALF, GARBLED = range(3)


class Flash:
    """blocks: of 4 KiB."""

    def __init__(self, blocks, data=None):
        self.blocks = blocks
        self.data = data if data is not None else bytearray(blocks * BLOCK)
        self.erases = [0] * blocks
        self.programs = 0
        self.dead = False
        self.left = -1
        self.how = NOTHING

    def after_power_cut(self):
        """The same flash for the next life. Files that the last one left open stay with the dead
        one: their finalisers must not write."""
        self.dead = True
        return Flash(self.blocks, self.data)

    def cut(self, left, how):
        """The power goes at the program or erase that comes after `left` others, when that has
        done `how` of its work: from then on nothing works."""
        self.left = left
        self.how = how

    def readblocks(self, block, buf, offset=0):
        if self.dead:
            return -5
        start = block * BLOCK + offset
        buf[:] = memoryview(self.data)[start : start + len(buf)]
        return 0

    def writeblocks(self, block, buf, offset=0):
        if self.dead:
            return -5
        start = block * BLOCK + offset
        n = len(buf)
        if self.left == 0:
            self.dead = True
            if self.how == HALF:
                n //= 2
                self.data[start : start + n] = memoryview(buf)[:n]
            elif self.how == GARBLED:
                for i in range(n):
                    self.data[start + i] = (i * 151 + block) & 0xFF
            return -5
        self.left -= 1
        self.programs += 1
        self.data[start : start + n] = buf
        return 0

    def ioctl(self, op, arg):
        if op == 4:
            return self.blocks
        if op == 5:
            return BLOCK
        if op == 6:
            return self._erase(arg)
        return 0

    def _erase(self, block):
        if self.dead:
            return -5
        start = block * BLOCK
        n = BLOCK
        if self.left == 0:
            self.dead = True
            if self.how == NOTHING:
                return -5
            n = BLOCK // 2 if self.how == HALF else BLOCK
            for i in range(n):
                self.data[start + i] = 0xFF if self.how == HALF else (i * 89 + block) & 0xFF
            return -5
        self.left -= 1
        self.erases[block] += 1
        self.data[start : start + n] = _ERASED
        return 0


_ERASED = b"\xff" * BLOCK


def mount(flash, where="/f", make=False):
    """Mounts the flash's LittleFS, after making one if `make`; what was mounted there goes."""
    try:
        vfs.umount(where)
    except OSError:
        pass
    if make:
        vfs.VfsLfs2.mkfs(flash)
    vfs.mount(vfs.VfsLfs2(flash), where)
