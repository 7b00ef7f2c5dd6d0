"""
progress.py - how far a long run of tests is.

On a terminal one line says it, and is rewritten:

    sessions, part 3 of 5: 812 of 1480 done, 0 failed, 21 s

Elsewhere (a file, a pipe, CI) one line says of each part that it is over:

    # sessions: 1480 of 1480 done, 0 failed, 33 s

Runs in:   the test runners.
May touch: standard output.
"""
import os
import shutil
import sys
import threading
import time

SECONDS_BETWEEN = 0.1       # the line is not rewritten more often


class Progress:
    """
    Made with the parts in their order, a dictionary: how many things each part has to do, or None
    if that is not known. Such a part is over when end() says so, the others when all is done.
    Whoever uses it prints by say() until close(), so that the rewritten line does not get in between.
    """

    def __init__(self, parts, stream=None):
        self.stream = stream or sys.stdout
        self.totals = dict(parts)
        self.done = dict.fromkeys(parts, 0)
        self.failed = dict.fromkeys(parts, 0)
        self.began = dict.fromkeys(parts)
        self.notes = dict.fromkeys(parts, "")
        self.current = None
        self.shown = 0                      # columns of the line that stands there
        self.last = 0
        self.lock = threading.RLock()
        self.closed = threading.Event()
        self.is_terminal = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.ticker = threading.Thread(target=self._tick, daemon=True)
        if self.is_terminal:
            self.ticker.start()

    def begin(self, part):
        """Work on this part begins; add() says so too."""
        with self.lock:
            if self.began[part] is None:
                self.began[part] = time.monotonic()
                self.current = part
                self._show()

    def add(self, part, done=1, failed=0):
        """So many things more of this part are done, and so many of them have failed."""
        with self.lock:
            self.begin(part)
            self.done[part] += done
            self.notes[part] = ""
            self.failed[part] += failed
            if self.done[part] == self.totals[part]:
                self.end(part)
            elif time.monotonic() - self.last >= SECONDS_BETWEEN:
                self._show()

    def note(self, part, text):
        """How far one thing of this part is, where it takes long; shown on a terminal only."""
        with self.lock:
            self.notes[part] = f"; {text}"
            self._show()

    def end(self, part):
        """The part is over."""
        with self.lock:
            if not self.is_terminal:
                print(f"# {part}: {self._figures(part)}", file=self.stream, flush=True)
            self.totals[part] = self.done[part]
            if part == self.current:
                going_on = [name for name in self.totals if self.began[name] is not None and
                            self.totals[name] != self.done[name]]
                self.current = going_on[0] if going_on else part
            self._show()

    def say(self, text):
        """Prints lines of the run itself."""
        with self.lock:
            self._wipe()
            print(text, file=self.stream, flush=True)
            self._show()

    def close(self):
        """The rewritten line goes away; what is printed now stays the last."""
        with self.lock:
            self.closed.set()
            self._wipe()

    def _figures(self, part):
        total = self.totals[part]
        of_all = "" if total is None else f" of {total}"
        seconds = time.monotonic() - (self.began[part] or time.monotonic())
        return f"{self.done[part]}{of_all} done, {self.failed[part]} failed, {seconds:.0f} s"

    def _line(self):
        names = list(self.totals)
        number = names.index(self.current) + 1
        place = f", part {number} of {len(names)}" if len(names) > 1 else ""
        others = sum(self.failed.values()) - self.failed[self.current]
        earlier = f"; {others} failed in other parts" if others else ""
        return f"{self.current}{place}: {self._figures(self.current)}{self.notes[self.current]}{earlier}"

    def _show(self):
        if not self.is_terminal or self.current is None or self.closed.is_set():
            return
        line = self._line()[:shutil.get_terminal_size().columns - 1]
        self.stream.write("\r" + line.ljust(self.shown))
        self.stream.flush()
        self.shown = len(line)
        self.last = time.monotonic()

    def _wipe(self):
        if self.shown:
            self.stream.write("\r" + " " * self.shown + "\r")
            self.stream.flush()
            self.shown = 0

    def _tick(self):
        """The seconds go on when nothing else does."""
        while not self.closed.wait(1):
            with self.lock:
                self._show()
