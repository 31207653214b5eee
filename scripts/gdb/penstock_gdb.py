"""Fibers in gdb, of a live process and of a core dump: gdb -x penstock_gdb.py [-p PID | PROGRAM CORE]

  penstock fibers          every fiber: id, name, what it waits for and since when
  penstock fiber ID        its calls
  penstock bt [ID | all]   the same; all: of every fiber, fibers that stand in the same place together

An ID is THREAD/NUMBER, as /debug/fibers shows it. The program needs its symbol table; lines need debug information (-g1).
Nothing of the process is changed, and nothing is run in it.

Core dumps are those that the kernel writes. The ones of gcore and generate-core-file lack the fibers on Linux 6.13 and
later: gdb gives up on a mapping at its first unreadable page, and each stack begins with one.
"""
import struct
import time

import gdb
from gdb.unwinder import Unwinder, register_unwinder

PHASES = ("running", "ready", "waiting")
NEVER = 2**63 - 1
MOST_FRAMES = 64


class Memory:
    """What is read of the process, by the layout that the runtime describes itself with."""

    def __init__(self):
        layout = symbol_address("penstock_gdb_layout")
        self.threads_at = symbol_address("penstock_gdb_threads")
        self.offsets = {}
        while self.word(layout):
            self.offsets[self.text(self.word(layout))] = self.signed(layout + 8)
            layout += 16

    @staticmethod
    def bytes(at, size):
        return bytes(gdb.selected_inferior().read_memory(at, size))

    def word(self, at):
        return struct.unpack("<Q", self.bytes(at, 8))[0]

    def signed(self, at):
        return struct.unpack("<q", self.bytes(at, 8))[0]

    def text(self, at, most=200):
        result = b""
        while len(result) < most:
            byte = self.bytes(at + len(result), 1)
            if byte == b"\0":
                break
            result += byte
        return result.decode(errors="replace")

    def string(self, at):
        """A std::string."""
        size = min(self.word(at + 8), 4096)
        return self.bytes(self.word(at), size).decode(errors="replace") if size else ""


def symbol_address(name):
    try:
        return int(gdb.parse_and_eval(f"(unsigned long)&{name}"))
    except gdb.error as error:
        raise gdb.GdbError(f"no symbol {name}: is this a program with Penstock, with its symbol table? ({error})")


def name_of_task(memory, task):
    """As the task's class says it."""
    symbol = gdb.execute(f"info symbol {memory.word(task):#x}", to_string=True)
    kind = symbol.split(" + ")[0].removeprefix("vtable for ").strip()
    at = lambda name: task + memory.offsets[f"{kind}.{name}"]
    if f"{kind}.name_size" in memory.offsets:
        return memory.bytes(at("name"), min(memory.word(at("name_size")), 200)).decode(errors="replace")
    if f"{kind}.host" in memory.offsets:
        port = struct.unpack("<H", memory.bytes(at("port"), 2))[0]
        return f"http {memory.string(at('host'))}" + (f":{port}" if port else "")
    return kind


def now_of(memory, clock):
    """Of a live process on this machine the present; of a core dump the thread's clock as of its last turn."""
    connection = gdb.selected_inferior().connection
    if connection is not None and connection.type == "native":
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    return memory.signed(clock)


class Fiber:
    def __init__(self, memory, thread, now, properties):
        offset = lambda name: properties + memory.offsets["fiber." + name]
        self.memory, self.thread, self.now = memory, thread, now
        self.number = memory.word(offset("id"))
        self.phase = PHASES[struct.unpack("<i", memory.bytes(offset("phase"), 4))[0]]
        self.since = memory.signed(offset("since"))
        self.started = memory.signed(offset("started"))
        self.deadline = memory.signed(offset("deadline"))
        self.task = memory.word(offset("task"))
        self.waiter = memory.word(offset("waiter"))
        self.upstream = memory.word(offset("upstream"))
        # Null while it runs.
        self.saved = memory.word(memory.word(offset("context")) + memory.offsets["context.saved"])

    @property
    def id(self):
        return f"{self.thread}/{self.number}"

    def name(self):
        return name_of_task(self.memory, self.task)

    def waits_for(self):
        if self.phase != "waiting" or not self.waiter:
            return ""
        what = self.memory.text(self.memory.word(self.waiter + self.memory.offsets["waiter.what"]))
        name = self.memory.word(self.waiter + self.memory.offsets["waiter.name"])
        task = self.memory.word(self.waiter + self.memory.offsets["waiter.fiber"])
        if name:
            return f"{what} '{self.memory.string(name)}'"
        return f"{what} '{name_of_task(self.memory, task)}'" if task else what

    def __str__(self):
        seconds = lambda ns: f"{ns / 1e9:.3f} s"
        text = f"{self.id} '{self.name()}' {self.phase} {seconds(self.now - self.since)}"
        if self.waits_for():
            text += f" for {self.waits_for()}"
        if self.upstream:
            text += f", upstream '{self.memory.string(self.upstream)}'"
        text += f", age {seconds(self.now - self.started)}"
        if self.deadline != NEVER:
            text += f", deadline in {seconds(self.deadline - self.now)}"
        return text


def all_fibers():
    memory = Memory()
    fibers = []
    thread = memory.word(memory.threads_at)
    while thread:
        following, index, number, end, clock = struct.unpack("<5Q", memory.bytes(thread, 40))
        now = now_of(memory, clock)
        node = memory.word(end)
        while node != end:
            fibers.append(Fiber(memory, index, now, node - memory.offsets["fiber.listed"]))
            fibers[-1].tid = number
            node = memory.word(node)
        thread = following
    return sorted(fibers, key=lambda fiber: (fiber.thread, fiber.number))


class FrameId:
    def __init__(self, sp, pc):
        self.sp, self.pc = sp, pc


class FiberUnwinder(Unwinder):
    """Says that the caller of the thread's innermost frame is the fiber's."""

    def __init__(self):
        super().__init__("penstock fibers")
        self.enabled = False
        self.saved = None
        self.pc = None
        self.done = False

    def __call__(self, pending):
        # Asked for one frame after the other, innermost first.
        if self.saved is None or self.done:
            return None
        self.done = True
        # What jump_fcontext saved: MXCSR and x87 control word, canary, r12 to r15, rbx, rbp, return address.
        words = struct.unpack("<9Q", Memory.bytes(self.saved, 72))
        self.pc = words[8]
        # Inner to all of the fiber's frames, or gdb would take the stack for corrupt.
        info = pending.create_unwind_info(FrameId(gdb.Value(self.saved - 64), gdb.Value(words[8])))
        long = gdb.selected_inferior().architecture().integer_type(64, False)
        save = lambda register, value: info.add_saved_register(register, gdb.Value(value).cast(long))
        for register, value in zip(("r12", "r13", "r14", "r15", "rbx", "rbp", "rip"), words[2:9]):
            save(register, value)
        save("rsp", self.saved + 72)
        return info


UNWINDER = FiberUnwinder()
register_unwinder(None, UNWINDER, replace=True)


def calls_of_frames(frame):
    calls = []
    while frame is not None and len(calls) < MOST_FRAMES:
        place = frame.find_sal()
        name = frame.name()
        if name is None:
            name = f"{frame.pc():#x}"
        line = f" at {place.symtab.filename}:{place.line}" if place.symtab else ""
        library = gdb.solib_name(frame.pc())
        calls.append(name + (line or (f" ({library.rsplit('/', 1)[-1]})" if library else "")))
        # What is beyond it is how Boost began the fiber.
        if name.startswith("penstock::fiber::Scheduler::work"):
            break
        try:
            frame = frame.older()
        except gdb.error:
            break
    return calls


def calls_of_fiber(fiber):
    if not fiber.saved:
        thread = next((t for t in gdb.selected_inferior().threads() if t.ptid[1] == fiber.tid), None)
        if thread is None:
            return ["it runs"]
        was = gdb.selected_thread()
        thread.switch()
        try:
            return calls_of_frames(gdb.newest_frame())
        finally:
            if was is not None:
                was.switch()
    UNWINDER.saved, UNWINDER.done, UNWINDER.enabled = fiber.saved, False, True
    gdb.invalidate_cached_frames()
    try:
        # Behind the thread's own frame, which counts as several when functions were inlined into it.
        frame = gdb.newest_frame()
        while frame is not None and frame.pc() != UNWINDER.pc:
            frame = frame.older()
        return calls_of_frames(frame)
    finally:
        UNWINDER.saved, UNWINDER.enabled = None, False
        gdb.invalidate_cached_frames()


def show(fibers, calls):
    for fiber in fibers:
        print(fiber)
    for i, call in enumerate(calls):
        print(f"    #{i:<2} {call}")
    print()


def show_calls(wanted):
    fibers = all_fibers()
    if wanted != "all":
        found = [fiber for fiber in fibers if wanted in (fiber.id, str(fiber.number))]
        if not found:
            raise gdb.GdbError(f"no fiber {wanted}: penstock fibers lists all")
        for fiber in found:
            show([fiber], calls_of_fiber(fiber))
        return
    alike = {}
    for fiber in fibers:
        alike.setdefault(tuple(calls_of_fiber(fiber)), []).append(fiber)
    for calls, group in sorted(alike.items(), key=lambda item: -len(item[1])):
        if len(group) > 1:
            print(f"{len(group)} fibers")
        show(group, calls)


class PenstockCommand(gdb.Command):
    """Fibers of the runtime: penstock fibers | fiber ID | bt [ID | all]"""

    def __init__(self):
        super().__init__("penstock", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        words = gdb.string_to_argv(argument)
        if words == ["fibers"]:
            fibers = all_fibers()
            for fiber in fibers:
                print(fiber)
            print(f"{len(fibers)} fibers")
        elif words[:1] == ["fiber"] and len(words) == 2:
            show_calls(words[1])
        elif words[:1] == ["bt"] and len(words) <= 2:
            show_calls(words[1] if len(words) == 2 else "all")
        else:
            raise gdb.GdbError("usage: penstock fibers | penstock fiber ID | penstock bt [ID | all]")

    def complete(self, text, word):
        return [name for name in ("fibers", "fiber", "bt") if name.startswith(word)]


PenstockCommand()
