"""
boundary.py - the architecture, read from what was built.

Who may call what shows in the symbols that each object file imports, so the
boundaries of the design are checked where they cannot be talked away.

Runs in:   the test runner.
May touch: nothing; reads build/ and the sources with nm and readelf.
"""
import functools
import glob
import os
import re
import subprocess

from harness.world import TREE, Skip, require_tool

PURE = ("auth/login", "auth/proxy", "auth/reasons", "auth/stack", "maildir/record", "maildir/former", "maildir/wire", "maildir/template")
# What a pure parser may import: functions of octets, and errno for the caller.
HARMLESS = re.compile(r"mem[a-z]+|raw?memchr|str[a-z]+|__(mem|str)[a-z]+_chk|__stack_chk_fail|"
                      r"inet_(pton|ntop)|__errno_location|__explicit_bzero_chk|explicit_bzero|"
                      r"_GLOBAL_OFFSET_TABLE_|__tls_get_addr")
# peer_set_address() only turns text into an address; it shares its file with the socket's part.
# record.c makes memory, from the system itself. former.c writes numbers into memory.
KNOWN_PURE = {"auth/proxy": {"peer_set_address"},
              "auth/stack": {"rule_is"},
              "maildir/record": {"mmap", "mmap64", "mremap", "munmap"},
              "maildir/former": {"octets_are_id", "sprintf", "__sprintf_chk", "__isoc23_strtoull"}}

# Linked into the check (-c) alone, so that the session's program does not carry them.
CHECK_ALONE = {f"auth/{name}" for name in ("check", "check_pam", "rules", "modules", "stack", "addresses", "ask",
                                           "password", "remedies", "lists", "directory", "inquiry", "lines", "tool")}

IDENTITY = re.compile(r"pam_.*|set(res|re|e|fs)?[ug]id|initgroups|setgroups|chroot|getpw.*|getsp.*|getgr.*")
PROCESSES = re.compile(r"v?fork|clone|exec.*|posix_spawn.*|system|popen|kill|ptrace")
NETWORK = re.compile(r"socket(pair)?|connect|bind|listen|accept4?|send(to|msg)?|recv(from|msg)?")
FILES = re.compile(r"(f|fd)?open(at)?(64)?|creat(64)?|opendir|readdir(64)?|unlink(at)?|rename(at2?)?|"
                   r"mkdir(at)?|rmdir|link(at)?|symlink(at)?|mkfifo.*|mknod.*|mkstemp.*|tmpfile.*|"
                   r"l?f?stat(at)?(64)?|statx|access|faccessat|truncate|chmod|fchmod(at)?|chown|"
                   r"chdir|fchdir|realpath|readlink(at)?|scandir.*|fts_.*|n?ftw")
MOUTH = re.compile(r"(__)?(v?f?printf|v?dprintf|puts|fputs|putchar|fwrite|perror|v?syslog|openlog)(_chk)?|"
                   r"_?exit|abort|quick_exit|err|errx|warnx?")


def objects(folder="*"):
    paths = glob.glob(f"{TREE}/build/pop3d.o") + glob.glob(f"{TREE}/build/auth/*.o") + \
        glob.glob(f"{TREE}/build/maildir/*.o") + glob.glob(f"{TREE}/build/xinetd.d/*.o")
    names = {os.path.relpath(path, f"{TREE}/build")[:-2]: path for path in paths}
    if not names:
        raise Skip("needs the objects that make leaves in build/")
    # an object whose source is gone is a left-over of an older build
    return {name: path for name, path in names.items() if os.path.exists(f"{TREE}/{name}.c") and
            (folder == "*" or name == folder or name.startswith(folder + "/"))}


@functools.lru_cache(None)
def symbols(path, option):
    nm = require_tool("nm")
    lines = subprocess.run([nm, option, "-g", "-P", path], capture_output=True, text=True, check=True).stdout
    return frozenset(line.split()[0] for line in lines.splitlines())


def imports(path):
    return symbols(path, "-u")


def exports(path):
    return symbols(path, "--defined-only")


def refuse(folder, pattern, but=()):
    """No object of this folder imports what the pattern names."""
    for name, path in objects(folder).items():
        found = sorted(symbol for symbol in imports(path)
                       if pattern.fullmatch(symbol) and symbol not in but)
        assert not found, f"{name}.c calls {', '.join(found)}"


def test_maildir_knows_no_identity(world):
    """nothing in maildir/ imports a symbol of PAM, of identities, of processes or of the network"""
    for pattern in (IDENTITY, PROCESSES, NETWORK):
        refuse("maildir", pattern)


def test_maildir_keeps_silent(world):
    """maildir/ behaves like libc: it never logs, never prints, never exits"""
    refuse("maildir", MOUTH)


def test_pop3d_opens_nothing(world):
    """nothing in pop3d.c opens a file, forks, connects or touches identities"""
    for pattern in (FILES, IDENTITY, PROCESSES, NETWORK):
        refuse("pop3d", pattern)


# The owner of a Unix socket's file is asked for; the folder of the places is made where it is missing.
MAY_ALSO = {"auth/connector": {"stat", "stat64", "__stat64_time64"},
            "auth/places": {"fstat", "fstat64", "__fstat64_time64", "mkdir"}}


def test_auth_reads_no_mail(world):
    """auth/ opens /dev/null and the account databases; it reads no directory, removes nothing"""
    for name, path in objects("auth").items():
        if name in CHECK_ALONE:
            # the check, which no session runs, reads what PAM's modules read; to ask one it makes a folder
            more = {"mkdir", "rmdir", "unlink", "open", "open64"} if name == "auth/ask" else {"stat", "stat64"}
            refuse(name, FILES, but={"access", "fopen", "fopen64", *more})
            continue
        refuse(name, FILES, but={"open", "open64", "access", "chdir", "fchdir", "readlink", *MAY_ALSO.get(name, ())})
        with open(f"{TREE}/{name}.c") as file:
            opened = set(re.findall(r"\bopen\((\"[^\"]*\"|\w+)", file.read()))
        # a file of /run/pop3d; what the kernel tells of a process
        made = {"path"} if name in ("auth/places", "auth/sessions") else set()
        assert opened <= {'"/dev/null"', '"/etc/passwd"', '"/etc/login.defs"', *made}, f"{name}.c opens {opened}"


def test_few_files_speak_to_pam(world):
    """PAM is called by the functions that auth/libpam.c looks up, and from the files that include libpam.h alone"""
    ours = {symbol for path in objects("auth").values() for symbol in symbols(path, "--defined-only")}
    for name, path in objects().items():
        found = sorted(symbol for symbol in imports(path) - ours if symbol.startswith("pam_"))
        assert not found, f"{name}.c calls {found}"
        with open(f"{TREE}/{name}.c") as file:
            text = file.read()
        assert "security/pam" not in text, f"{name}.c goes past libpam.h"
        assert ("libpam.h" in text) == (name in ("auth/libpam", "auth/pam", "auth/ask")), \
            f"{name}.c: who speaks to PAM has changed"


def test_sessions_need_no_check(world):
    """no file of auth/ that a session needs calls one that belongs to the check alone"""
    files = objects("auth")
    alone = {symbol for name in CHECK_ALONE for symbol in symbols(files[name], "--defined-only")}
    for name, path in files.items():
        found = sorted(imports(path) & alone)
        assert not found or name in CHECK_ALONE, f"{name}.c calls {found}"


def test_parsers_are_pure(world):
    """the parsers of login names, SASL, PROXY headers, templates, lists, records and wire octets make no system call"""
    for name in PURE:
        path = objects().get(name)
        assert path, f"{name}.c is gone: name its successor here"
        found = sorted(symbol for symbol in imports(path) if not HARMLESS.fullmatch(symbol)
                       and symbol not in KNOWN_PURE.get(name, ()))
        assert not found, f"{name}.c calls {', '.join(found)}"


def defined(folder):
    return {symbol for path in objects(folder).values() for symbol in exports(path)}


def test_folders_ask_one_way(world):
    """pop3d.c asks auth/ and maildir/, the check asks both; those two know neither each other nor who asks"""
    for user, others in {"auth": ("pop3d", "maildir", "xinetd.d"), "maildir": ("pop3d", "auth", "xinetd.d"),
                         "pop3d": ("xinetd.d",), "xinetd.d": ("pop3d",)}.items():
        for name, path in objects(user).items():
            for other in others:
                found = imports(path) & defined(other)
                assert not found, f"{name}.c uses {sorted(found)} of {other}"


def test_no_circles(world):
    """no two files of a folder call each other, by whatever way: each folder has a ground floor"""
    for folder in ("auth", "maildir", "xinetd.d"):
        files = objects(folder)
        asks = {name: {other for other, there in files.items() if other != name and
                       imports(path) & exports(there)} for name, path in files.items()}
        while asks:
            # whoever asks nobody that is left is on a floor that stands
            ground = {name for name, asked in asks.items() if not asked & set(asks)}
            assert ground, f"these ask each other in a circle: { {name: sorted(asked & set(asks)) for name, asked in asks.items()} }"
            asks = {name: asked for name, asked in asks.items() if name not in ground}


def test_session_carries_no_check(world):
    """nothing that only the check runs is in the session's binary, and the check has no session in it"""
    production(world)
    # linked file by file: the whole program at once has lost the names of what it put together
    program = world.folder() + "/pop3d"
    subprocess.run(["make", "-s", "-C", TREE, "WHOLE=-fno-lto", f"PROGRAM={program}", program, f"{program}-check"],
                   check=True, stdout=subprocess.DEVNULL)
    ours, check = exports(program), exports(program + "-check")
    for name, path in objects().items():
        own = exports(path) - {"main"}
        if name.startswith("xinetd.d/") or name in CHECK_ALONE | {f"maildir/{name}" for name in ("check", "command", "mount", "way",
                                                                                          "home", "elsewhere")}:
            assert not own & ours, f"{name}.c is in pop3d: {sorted(own & ours)}"
        elif name != "pop3d":
            assert own & ours, f"{name}.c is not in pop3d"
    assert "launchers_check" in check and "part_run" in check - ours, "the linker keeps what nothing calls"
    assert "pam_helper" in ours - check and "auth_session" in ours - check, "the check could serve a session"


def test_check_keeps_its_identity(world):
    """what launches and surrounds is looked at without changes of identity, which auth/ has; parts.c alone forks"""
    refuse("xinetd.d", IDENTITY)
    for name, path in objects("xinetd.d").items():
        calls = {symbol for symbol in imports(path) if PROCESSES.fullmatch(symbol)}
        assert calls <= {"fork", "execv", "kill"} if name.endswith("/parts") else not calls, f"{name}.c calls {calls}"


def sources():
    found = [f"{TREE}/pop3d.c"]
    for folder in ("auth", "maildir", "xinetd.d"):
        found += sorted(glob.glob(f"{TREE}/{folder}/*.[ch]"))
    return found


def test_the_map_names_every_file(world):
    """the README's map says of each source, in half a line, what is in it"""
    with open(f"{TREE}/README.md") as file:
        rows = re.findall(r"^\| (`[^|]*) \| ([^|]+) \|$", file.read(), re.M)
    named = set()
    for cell, _ in rows:
        folder = ""
        for name in re.findall(r"`([\w./]+\.[ch])`", cell):
            folder = os.path.dirname(name) or folder
            named.add(os.path.join(folder, os.path.basename(name)))
    own = {os.path.relpath(path, TREE) for path in sources() if path.endswith(".c")}
    assert own <= named, f"the README's map does not name {sorted(own - named)}"
    gone = {name for name in named if not os.path.exists(f"{TREE}/{name}")}
    assert not gone, f"the README's map names {sorted(gone)}, which is not there"


def test_sources_open_with_a_passport(world):
    """every source says what it is, which process runs it and what it may touch"""
    for path in sources():
        with open(path) as file:
            head = file.read(1500)
        for word in (f"{os.path.basename(path)} - ", "Runs in:", "May touch:"):
            assert word in head, f"{path} does not say {word!r} at its top"


FUNCTION_LINES, FILE_LINES = 45, 500


def functions_of(path):
    """Name and length of each function: from its name, which begins a line, to its closing brace."""
    began = name = None
    with open(path) as file:
        for number, line in enumerate(file, 1):
            head = re.match(r"(\w+)\(", line)
            if head:
                began, name = number, head[1]
            elif line == "}\n" and began:
                yield name, number - began + 1
                began = None


def test_functions_fit_a_screen(world):
    """no function of the product is longer than a screen, no file but pop3d.c longer than a sitting"""
    found = 0
    for path in sources():
        for name, length in functions_of(path):
            found += 1
            assert length <= FUNCTION_LINES, \
                f"{path}: {name}() has {length} lines: give what it does a second name, and let it call that"
        with open(path) as file:
            length = len(file.readlines())
        assert length <= FILE_LINES or path.endswith("/pop3d.c"), \
            f"{path} has {length} lines, {FILE_LINES} are the limit: find the second subject in it, and make it a file"
    assert found > 250, f"only {found} functions were found: is the type of each on a line of its own?"


def test_one_style_for_the_head_of_a_function(world):
    """in product and tests the type of a function stands on a line of its own, so that grep ^name finds it"""
    for path in sources() + glob.glob(f"{TREE}/tests/*/*.[ch]"):
        with open(path) as file:
            lines = file.read().split("\n")
        for number, line in enumerate(lines, 1):
            # what goes on until a line that is an opening brace is a definition, not a prototype
            if re.match(r"[A-Za-z_][\w *]*[ *]\w+\(", line) and not line.startswith("typedef"):
                end = next((text for text in lines[number - 1:] if text == "{" or text.endswith(";")), ";")
                assert end != "{", f"{path}:{number}: the type belongs on a line of its own"


def programs(world):
    return [world.binary, world.binary + "-check"]


def readelf(binary, option):
    tool = require_tool("readelf")
    return subprocess.run([tool, "-W", option, binary], capture_output=True, text=True, check=True).stdout


def production(world):
    with open(world.binary, "rb") as file:
        if world.is_sanitized or b"__llvm_profile" in file.read():
            raise Skip("needs the production build")


def test_binaries_need_libc_and_libpam(world):
    """both programs need libc, the PAM helper libpam, and nothing else; the check loads what it looks at"""
    production(world)
    for binary in programs(world):
        needed = set(re.findall(r"\(NEEDED\).*\[(\w+)", readelf(binary, "-d")))
        assert needed == {"libc"}, f"{binary} needs {needed}"
    loading = {name for name, path in objects().items() if "dlopen" in imports(path)}
    assert loading == {"auth/libpam", "auth/equal", "auth/modules", "auth/directory"}, f"libraries are loaded by {loading}"
    with open(f"{TREE}/auth/libpam.c") as file:
        assert re.findall(r"\bdlopen\(([^,]*),", file.read()) == ['"libpam.so.0"'], "auth/libpam.c loads another library"
    with open(f"{TREE}/auth/equal.c") as file:
        assert set(re.findall(r"\bdlopen\(([^,]*),", file.read())) == {'"libcrypt.so.1"', '"libcrypt.so.2"'}, \
            "auth/equal.c loads another library"


def test_binary_is_small(world):
    """text and data of the session have 89 KiB at most; stripped, with what fills its pages, it has 100"""
    production(world)
    copy = world.folder() + "/stripped"
    subprocess.run([require_tool("strip"), "-o", copy, world.binary], check=True)
    told = subprocess.run([require_tool("size"), copy], capture_output=True, text=True, check=True).stdout
    text, data = map(int, told.split("\n")[1].split()[:2])
    assert text + data <= 89 * 1024, f"{text + data} octets: what does a session not need?"
    assert os.path.getsize(copy) <= 100 * 1024, f"{os.path.getsize(copy)} octets"


def test_binaries_are_hardened(world):
    """PIE, full RELRO, no executable stack, stack protector, fortified calls, no run path"""
    production(world)
    for binary in programs(world):
        dynamic = readelf(binary, "-d")
        assert re.search(r"FLAGS_1\).*NOW.*PIE|FLAGS_1\).*PIE.*NOW", dynamic), "not PIE, or bound lazily"
        assert "RPATH" not in dynamic and "RUNPATH" not in dynamic and "TEXTREL" not in dynamic
        segments = readelf(binary, "-l")
        assert "GNU_RELRO" in segments
        stack = re.search(r"GNU_STACK.*", segments)
        assert stack and "RWE" not in stack[0], "the stack is executable"
        names = readelf(binary, "--dyn-syms")
        assert "__stack_chk_fail" in names and "__snprintf_chk" in names
