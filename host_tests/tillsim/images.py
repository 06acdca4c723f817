"""Flash images for tests, written by littlefs-python: no board is needed to make one."""

from pathlib import Path

from littlefs import LittleFS

from tillsim import board


def image_with(path: Path, files: dict[str, bytes]) -> Path:
    """A flash image at `path` whose root filesystem holds `files`."""
    blocks = board.PARTITIONS["vfs"][1]
    root = LittleFS(block_size=board.BLOCK, block_count=blocks, read_size=32, prog_size=32,
                    lookahead_size=32, disk_version=0x00020000)  # fmt: skip
    for name, content in files.items():
        with root.open(name, "wb") as f:
            f.write(content)
    path.write_bytes(bytes(root.context.buffer).ljust(board.FLASH_BYTES, b"\xff"))
    return path
