"""
equal.py - each refusal costs the work of a hash, whether the account exists or not.

Runs in:   the test runner, as root: with real accounts and pam_unix.
May touch: the private /etc/shadow; the sessions it starts.
"""
import os
import subprocess

from harness.server import Failure, Session
from harness.world import ACCOUNTS, hash_password, require_root, require_tool

PARALLEL = False                # /etc/shadow is there once
ROUNDS = 600000                 # of SHA-512: some tenths of a second


def dear_hash(password):
    """A hash that takes long."""
    return subprocess.run([require_tool("openssl"), "passwd", "-6", "-salt", f"rounds={ROUNDS}$abcdefghijkl", "-stdin"],
                          input=password + "\n", capture_output=True, text=True, check=True).stdout.strip()


def processor_seconds(world, user, password, *options):
    """What one login costs all processes of its session; those that pop3d has waited for are in its own sum."""
    session = Session(world, "tcp", ["-e", *options])
    try:
        answer = session.try_to_log_in(user, password)
        _, _, usage = os.wait4(session.pid, 0)
        session.process.returncode = 0
        return usage.ru_utime + usage.ru_stime, answer
    finally:
        session.finish()


def set_up(world):
    """alice's hash is dear, bob's is not, dave has none, locked has a dear one that is locked."""
    require_root()
    world.unix_users()
    dear = dear_hash("secret")
    if not dear.startswith(f"$6$rounds={ROUNDS}$"):
        raise Failure(f"openssl made {dear}")
    hashes = {"alice": dear, "bob": hash_password(ACCOUNTS["bob"][1]), "dave": "*", "locked": "!" + dear}
    for name, one in hashes.items():
        world.set_shadow(name, hash=one)


def put_back(world):
    for name in ("alice", "bob", "dave"):
        world.set_shadow(name, hash=hash_password(ACCOUNTS[name][1]))
    world.set_shadow("locked", hash="!" + hash_password("secret"))


NAMES = ("alice", "bob", "dave", "locked", "nosuchuser", "root", "nosuch\\user")


def test_every_refusal_is_a_hash(world):
    """a refused login costs the same work, whether the name has a dear hash, a cheap one, a locked one, none, or is nobody's"""
    set_up(world)
    try:
        costs = {}
        for name in NAMES:
            # the lesser of two, because other work on the machine makes any work longer
            costs[name], answer = min(processor_seconds(world, name, "wrong") for _ in range(2))
            if not answer.startswith("-ERR [AUTH] Logon failure"):
                raise Failure(f"{name}: {answer}")
        cheap, answer = processor_seconds(world, "bob", ACCOUNTS["bob"][1])
        if not answer.startswith(("+OK", "-ERR [SYS")) or cheap > costs["bob"] / 3:
            raise Failure(f"a right password costs {cheap:.2f} s: {answer}")
        if max(costs.values()) > 1.9 * min(costs.values()):
            raise Failure(f"{costs}")
    finally:
        put_back(world)


def test_no_work_without_pam_unix(world):
    """where no service of pam_unix is loaded nothing is hashed in its place"""
    set_up(world)
    try:
        # there is no pam_unix in that folder, not even in its service "other", which libpam loads as well
        spent, _ = processor_seconds(world, "nosuchuser", "wrong", "-C", world.configuration)
        alike, _ = processor_seconds(world, "nosuchuser", "wrong")
        if spent > alike / 3:
            raise Failure(f"{spent:.2f} s without it, {alike:.2f} s with it")
    finally:
        put_back(world)
