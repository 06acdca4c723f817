"""Runs the board's side of a link test on MicroPython."""

import textwrap

from host_tests.micropython import run


def board(body, port=0, bits=32, timeout_s=60):
    """Lines that `body`, the inside of an async main() after link_client's names, prints."""
    code = "from link_client import *\nimport gc, os, socket\n\nasync def main():\n"
    code += textwrap.indent(textwrap.dedent(body), "    ") + "\n\nasyncio.run(main())\n"
    return run(code, str(port), bits=bits, timeout_s=timeout_s).splitlines()
