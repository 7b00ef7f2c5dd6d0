"""
listed.py - what is promised of the check in words is what the evenings' faults set up: the README's table, the
manual's rows, the steps of the articles on POP3 that the project began with.

Runs in:   the test runner.
May touch: nothing; it reads tests/evenings, pop3d.8 and README.md.
"""
import glob
import os
import re
import sys
import tomllib

from harness.server import Failure
from harness.world import HERE, TREE

# what an administrator of 1999 tried by hand, one after the other, when POP3 did not answer
STEPS = {
    "another program on the port",
    "a scanner's proxy",
    "both names of a login",
    "the telnet dialogue",
    "the service is on",
    "the service is on for this user",
    "the rights of the account",
    "the rights of the process",
    "the rights of the mailbox",
}


def faults():
    found = {}
    for path in glob.glob(f"{HERE}/evenings/faults/*.toml"):
        with open(path, "rb") as file:
            found[os.path.basename(path)[:-5]] = tomllib.load(file)
    return found


def all_named():
    return [named for fault in faults().values() for named in fault["named"]]


def text_of(path):
    with open(f"{TREE}/{path}") as file:
        return file.read()


def same(what, promised, tried):
    if promised != tried:
        raise Failure(f"{what}: no fault for {sorted(promised - tried)}, unknown: {sorted(tried - promised)}")


def test_the_readme_s_table(world):
    """each row of the README's table is met by a fault, and none is spoken of that it does not have"""
    section = text_of("README.md").split("\n## When it does not work\n")[1].split("\n## ")[0]
    cells = set(re.findall(r"^\| `([^`]+)` \|", section, re.M))
    same("README.md", cells, {named["table"] for named in all_named() if "table" in named})


def test_the_manual_s_rows(world):
    """each row that the manual lists is one by which some fault is named, or says what was not looked at"""
    section = text_of("pop3d.8").split("\n.Ss The check\n")[1].split("\n.S")[0]
    rows = {name for line in re.findall(r"^\.It Cm (.*)$", section, re.M) for name in line.split(" , ")}
    same("pop3d.8", rows - {"outside"}, {re.sub(r" \d+$", "", named["row"]) for named in all_named()})


def test_the_articles_steps(world):
    """each step of the old articles is a row of its own, and a fault shows which"""
    same("the articles", STEPS, {fault["article"] for fault in faults().values() if "article" in fault})
