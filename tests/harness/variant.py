#!/usr/bin/python3
"""
variant.py - what the linker needs to put a test's functions in the place of the product's.

    python3 tests/harness/variant.py SOURCE     prints it, for the Makefile

The source itself says which functions it stands in for: it defines __wrap_NAME for each.

Runs in:   make sanitize, and tests that build a variant of pop3d.
May touch: nothing; it reads.
"""
import re
import sys


def link_flags(source):
    """For a C file of the tests, what stands in for which functions; it fails where there are none."""
    with open(source) as file:
        names = re.findall(r"^__wrap_(\w+)\(", file.read(), re.MULTILINE)
    assert names, f"{source} stands in for nothing"
    return [f"-Wl,--wrap={name}" for name in names]


if __name__ == "__main__":
    print(" ".join(link_flags(sys.argv[1])))
