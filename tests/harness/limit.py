"""
limit.py - a limit of its own for each test, and the end of what it started.

Runs in:   the test runner: a thread that looks at the clock.
May touch: processes that a test started, and theirs.

A product that has lost a deadline waits for ever, and whoever waits for it, too. When a test is
over its limit its processes are killed: then the test fails by itself, with its own words.

The seconds of a limit are those of a machine that does nothing else. On a busy one, where a program gets a part
of a processor only, they pass by so much more slowly: it is not for others to decide which test fails.
"""
import os
import signal
import subprocess
import sys
import threading
import time

SECONDS = 100           # of a test that names no limit; nothing in one waits longer than PATIENCE
PAUSE = 1               # second between two looks
WORK = 0.02             # second of work, by which it is seen how busy the machine is
GRACE = 90              # seconds for a test to end by itself, once its processes are killed


class Watched:
    """A test that is running, and the processes that it started."""

    def __init__(self, name, seconds, now):
        self.name, self.seconds = name, seconds
        self.end = now + seconds
        self.processes = []
        self.is_over = False


def _members(pid):
    """A process and its descendants, as long as they are there."""
    members, at = [pid], 0
    while at < len(members):
        try:
            with open(f"/proc/{members[at]}/task/{members[at]}/children") as file:
                members += [int(child) for child in file.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            pass
        at += 1
    return members


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def share():
    """What part of a processor somebody who works gets: more than one time slice, or all would seem idle."""
    began, work = time.monotonic(), time.thread_time()
    while time.thread_time() < work + WORK:
        pass
    return min(1, WORK / (time.monotonic() - began))


class Limits:
    """Watches over all tests that run; one for a run."""

    def __init__(self):
        self.now = 0                    # seconds of a machine that does nothing else
        self.running = []
        self.lock = threading.Lock()
        self._remember_processes()
        threading.Thread(target=self._watch, daemon=True).start()

    @staticmethod
    def _remember_processes():
        """Whatever a test starts, in whichever of its threads, is known to be its own."""
        class Process(subprocess.Popen):
            def __init__(self, *arguments, **how):
                super().__init__(*arguments, **how)
                watched = getattr(threading.current_thread(), "watched", None)
                if watched is not None:
                    watched.processes.append(self)

        class Thread(threading.Thread):
            def __init__(self, *arguments, **how):
                super().__init__(*arguments, **how)
                self.watched = getattr(threading.current_thread(), "watched", None)

        subprocess.Popen = Process
        threading.Thread = Thread

    def begin(self, name, seconds):
        watched = Watched(name, seconds, self.now)
        threading.current_thread().watched = watched
        with self.lock:
            self.running.append(watched)
        return watched

    def end(self, watched):
        threading.current_thread().watched = None
        with self.lock:
            self.running.remove(watched)

    def _watch(self):
        before = time.monotonic()
        while True:
            time.sleep(PAUSE)
            part = share()
            before, elapsed = time.monotonic(), time.monotonic() - before
            self.now += part * elapsed
            with self.lock:
                late = [watched for watched in self.running if self.now > watched.end]
            for watched in late:
                if watched.is_over and self.now > watched.end + GRACE:
                    self._give_up(watched)
                watched.is_over = True
                for process in list(watched.processes):
                    # one that was waited for has no number any more
                    if process.returncode is None:
                        for pid in reversed(_members(process.pid)):
                            _kill(pid)

    @staticmethod
    def _give_up(watched):
        """It waits for something that is no process: nobody can end that but with the run."""
        print(f"FAIL {watched.name}\nstill there {GRACE} seconds after its limit of {watched.seconds}: "
              "the run ends here", flush=True)
        print("0 passed, 1 failed, 0 skipped", flush=True)
        sys.stdout.flush()
        os._exit(1)
