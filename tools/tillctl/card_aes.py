"""AES as MicroPython's cryptolib has it, for the firmware's card code on a PC."""

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

ECB, CBC = 1, 2


class aes:  # named as cryptolib names it
    """`aes(key, mode, iv)`: whole blocks; CBC goes on from call to call, as there."""

    def __init__(self, key: bytes, mode: int, iv: bytes = b"") -> None:
        self._cipher = Cipher(algorithms.AES(key), modes.ECB() if mode == ECB else modes.CBC(iv))
        self._context: CipherContext | None = None

    def encrypt(self, data: bytes) -> bytes:
        self._context = self._context or self._cipher.encryptor()
        return self._context.update(data)

    def decrypt(self, data: bytes) -> bytes:
        self._context = self._context or self._cipher.decryptor()
        return self._context.update(data)
