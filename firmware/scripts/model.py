"""Before every build: put the generated model where the compiler finds it, and name the board.

SPARCL_MODEL_DIR names the folder of model.h and model.c; without it they are generated from the example's network.
They are copied into the build folder when they differ, so that a build of another model recompiles only what
includes it. SPARCL_STORE=1 puts the store into the firmware (sparcl/store.h), and
SPARCL_KEY, 32 hexadecimal digits, locks it (sparcl/lock.h).
"""

import os
import re
import sys
import zlib
from pathlib import Path

from SCons.Script import Import

Import("env")
env = globals()["env"]

PROJECT = Path(env.subst("$PROJECT_DIR"))
EXAMPLE = PROJECT / "examples" / "digits"


def stop(message):
    sys.stderr.write(f"Error: {message}\n")
    env.Exit(2)


def make_example(folder):
    """Generate the model of examples/digits; files that stay the same are left alone."""
    try:
        from sparcl_mcu.errors import SparclError
        from sparcl_tools.example import generate_example
    except ImportError:
        stop(
            "this PlatformIO runs in a Python without sparcl-mcu; run it as: .venv/bin/pio, "
            "or name a folder with model.h and model.c in SPARCL_MODEL_DIR"
        )
    try:
        generate_example(EXAMPLE, folder)
    except SparclError as error:
        stop(error)


build = Path(env.subst("$BUILD_DIR"))
given = os.environ.get("SPARCL_MODEL_DIR")
source = Path(given) if given else build / "example"
if not given:
    make_example(source)
target = build / "model"
target.mkdir(parents=True, exist_ok=True)
for name in ("model.h", "model.c"):
    if not (source / name).is_file():
        stop(f"{source} holds no {name}; generate it with: sparcl generate")
    text = (source / name).read_bytes()
    if not (target / name).is_file() or (target / name).read_bytes() != text:
        (target / name).write_bytes(text)

# Told to the host in HELLO: changes whenever anything does that the firmware is made of.
made_of = [PROJECT / "platformio.ini", *PROJECT.glob("firmware/boards/*.ini"), *PROJECT.glob("firmware/**/*.[chS]*")]
with_store = os.environ.get("SPARCL_STORE") == "1"
build_id = zlib.crc32(env.subst("$PIOENV").encode() + b"+store" * with_store)
for path in [*sorted(made_of), target / "model.h", target / "model.c"]:
    build_id = zlib.crc32(path.read_bytes(), build_id)

runtime = PROJECT / "firmware" / "lib" / "sparcl"
env.Append(
    CPPPATH=[str(target), env.subst("$PROJECT_SRC_DIR"), f"{runtime}/include", f"{runtime}/src"],
    CPPDEFINES=[("SCL_BOARD", env.StringifyMacro(env.subst("$PIOENV")))],
)
if with_store:
    env.Append(CPPDEFINES=["SCL_WITH_STORE"])
if key := os.environ.get("SPARCL_KEY"):
    if not re.fullmatch("[0-9a-fA-F]{32}", key):
        stop("SPARCL_KEY is no key: give 32 hexadecimal digits, as from: openssl rand -hex 16")
    if not with_store:
        stop("SPARCL_KEY locks the firmware, which needs a store: set commit_every in [board], or SPARCL_STORE=1")
    env.Append(CPPDEFINES=[("SCL_KEY", ",".join(str(byte) for byte in bytes.fromhex(key)))])


# The work of the session, and counting work (pass), is small beside the learning of a sample: that code is made small,
# where flash is.
def compiled_for(name):
    def compile(env, node):
        defines, flags = list(env["CPPDEFINES"]), list(env["CCFLAGS"])
        if name == "reply":  # and in no other file: a new model must not recompile them all
            defines.append(("SCL_BUILD_ID", f"{build_id}u"))
        if env.subst("$PIOENV") != "native":
            flags.append("-Os")
        return env.Object(node, CPPDEFINES=defines, CCFLAGS=flags)

    return compile


for name in ("session", "reply", "help", "admit", "query", "pass"):
    env.AddBuildMiddleware(compiled_for(name), f"*/sparcl/src/{name}.c")
env.BuildSources("$BUILD_DIR/model_objects", str(target))
