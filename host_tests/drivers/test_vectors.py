"""The codecs' vectors on CPython and, with the same module, on the board's interpreter."""

from host_tests import micropython
from host_tests.on_micropython import driver_vectors


def test_vectors_on_cpython():
    assert driver_vectors.check() > 60


def test_vectors_on_the_32_bit_interpreter():
    said = micropython.run("import driver_vectors; print(driver_vectors.check())")
    assert int(said) == driver_vectors.check()
