"""What a sandbox shows: its file system, its devices and its environment, as commands.

In: the machine, and the cohort's `SandboxRules`. Out: bubblewrap's arguments, and Python's, for
`jobs.custom.sandbox`. What is not named here does not exist inside; all but the temporary folder is
read-only, the root and /dev included, as each is memory otherwise.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import jobs
from jobs.custom.frames import CHANNEL_FD
from jobs.errors import SandboxError
from jobs.plan import Device, SandboxRules

GAME, TEMPORARY = "/game", "/tmp"  # noqa: S108 - inside, nobody else is there
NOBODY = 65534
# Under each Python prefix; nothing else, as a virtual environment may lie in any folder.
PYTHON_PARTS = ("bin", "lib", "lib64", "pyvenv.cfg")
SYSTEM_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64")
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/alternatives", "/sys/devices/system/cpu")
# No /dev/zero: a shared map of it is memory that nobody counts.
HARMLESS_DEVICES = ("/dev/null", "/dev/random", "/dev/urandom")
NVIDIA_DEVICES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
CUBLAS_WORKSPACE = ":4096:8"  # as in `jobs.reproducible`, with torch
NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
# The kernel ends it from here on with whoever started it, who may have ended before.
ENDS_WITH = (
    "import ctypes, os, signal; "
    f"ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG}, signal.SIGKILL); "
    "os.getppid() == {us} or os._exit(1); "
)


def bubblewrap(
    rules: SandboxRules, device: Device, threads: int, user: int | None, info: int, calls: int
) -> list[str]:
    """Return the command that runs in a sandbox what is put behind it.

    Args:
        rules: the cohort's; the size of the temporary folder matters here.
        device: of the plan.
        threads: of the plan.
        user: whom root becomes inside; None where we are not root, and a user namespace does it.
        info: a descriptor to tell the number of the first process to.
        calls: a descriptor to read the filter of system calls from.
    """
    command = [
        shutil.which("bwrap") or "bwrap",
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
    ]
    command += ["--unshare-cgroup-try", "--hostname", "sandbox"]
    command += ["--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    if user is None:
        command += ["--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY)]
    else:
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    for name, value in environment(threads, TEMPORARY, device).items():
        command += ["--setenv", name, value]
    command += mounts(rules.temporary_mib, devices(device))
    command += ["--chdir", TEMPORARY, "--seccomp", str(calls), "--info-fd", str(info), "--"]
    if user is not None:
        command += ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"]
        command += ["--inh-caps=-all", "--no-new-privs", "--"]
    return command


def mounts(temporary_mib: int, extra_devices: Sequence[str] = ()) -> list[str]:
    """Return the arguments that make the file system, in their order."""
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in SYSTEM_FOLDERS:
        folder = Path("/", name)
        if folder.is_symlink():
            arguments += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            arguments += ["--ro-bind", str(folder), str(folder)]
    arguments += ["--proc", "/proc", "--dir", "/dev"]
    for device in (*HARMLESS_DEVICES, *extra_devices):
        arguments += ["--dev-bind", device, device]
    size = str(temporary_mib << 20)
    arguments += ["--perms", "1777", "--size", size, "--tmpfs", TEMPORARY]
    # After the temporary folder: Python itself may lie in a folder below /tmp.
    made = {"/", "/usr", "/dev", "/proc", TEMPORARY}
    binds = {path: path for path in (*SYSTEM_FILES, *_python_paths()) if Path(path).exists()}
    binds |= {f"{GAME}/jobs": str(Path(jobs.__file__).parent)}
    for inside, outside in binds.items():
        # bubblewrap would close parents that it makes itself to others than their owner.
        for parent in reversed(Path(inside).parents):
            if str(parent) not in made:
                arguments += ["--dir", str(parent)]
                made.add(str(parent))
        arguments += ["--ro-bind", outside, inside]
    return [*arguments, "--remount-ro", "/"]


def environment(threads: int, temporary: str, device: Device) -> dict[str, str]:
    """Return all variables that exist inside."""
    variables = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": temporary,
        "TMPDIR": temporary,
        "USER": "team",
        "OMP_NUM_THREADS": str(threads),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if device == "cuda":  # before team code can multiply a matrix, after which it is too late
        variables["CUBLAS_WORKSPACE_CONFIG"] = CUBLAS_WORKSPACE
    if device == "cuda" and "LD_LIBRARY_PATH" in os.environ:  # where some images have the driver
        variables["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    if device == "cuda" and "CUDA_VISIBLE_DEVICES" in os.environ:
        # By its own name: a number would count only the devices that are there.
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(name for name, _ in visible_gpus())
    return variables


def devices(device: Device) -> list[str]:
    """Return the device files of a slot's GPUs; none for a processor.

    Raises:
        SandboxError: CUDA_VISIBLE_DEVICES names something that is not a whole GPU of this machine.
    """
    if device != "cuda":
        return []
    files = [*NVIDIA_DEVICES, *(f"/dev/nvidia{minor}" for _, minor in visible_gpus())]
    return [file for file in files if Path(file).exists()]


def visible_gpus(gpus: Path = NVIDIA_GPUS) -> list[tuple[str, int]]:
    """Return name and number of the device file, of each GPU that this process may use.

    Raises:
        SandboxError: CUDA_VISIBLE_DEVICES names something that is not a whole GPU of this machine.
    """
    known = [_gpu(folder / "information") for folder in sorted(gpus.glob("*"))]
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return known
    chosen = []
    for name in filter(None, wanted.split(",")):
        found = [gpu for gpu in known if name.startswith("GPU-") and gpu[0].startswith(name)]
        if name.isdecimal() and int(name) < len(known):
            found = [known[int(name)]]
        if len(found) != 1:
            raise SandboxError(
                f"CUDA_VISIBLE_DEVICES names {name!r}, which is no whole GPU of this machine; "
                "sandboxes can be given whole GPUs only"
            )
        chosen += found
    return chosen


def _gpu(information: Path) -> tuple[str, int]:
    lines = (line.partition(":") for line in information.read_text().splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    return fields["GPU UUID"], int(fields["Device Minor"])


def python_command(
    code: str, channel: int, inherited: Sequence[int], arguments: list[str], isolated: bool
) -> list[str]:
    """Python, with the channel where it belongs and no descriptor that it should not have.

    A plain process ends with ours, as bubblewrap does by itself.
    """
    kept = sorted({CHANNEL_FD, *inherited})
    gaps = [(low + 1, high) for low, high in zip(kept, [*kept[1:], 1 << 20], strict=True)]
    game = GAME if isolated else str(Path(jobs.__file__).parents[1])
    begin = "" if isolated else ENDS_WITH.format(us=os.getpid())
    begin += (
        f"import os, sys; os.dup2({channel}, {CHANNEL_FD}); "
        f"[os.closerange(*gap) for gap in {gaps}]; sys.path.insert(0, {game!r}); "
        f"sys.path += [path for path in {package_folders()} if path not in sys.path]; "
    )
    # Not -I: it would forget PYTHONHASHSEED, on which the order of a team's sets depends.
    return [sys.executable, "-P", "-s", "-u", "-c", begin + code, *arguments]


def package_folders() -> list[str]:
    """Return the folders with installed packages that this process uses, wherever they lie."""
    return [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]


def _python_paths() -> list[str]:
    """Return where Python, its library and its packages lie, outside of what is shown anyway."""
    executable = Path(sys.executable).resolve()
    prefixes = dict.fromkeys([sys.prefix, sys.base_prefix, str(executable.parents[1])])
    paths = [str(Path(prefix, part)) for prefix in prefixes for part in PYTHON_PARTS]
    paths += package_folders()
    shown = ["/usr"]
    for path in dict.fromkeys(paths):
        if not any(Path(path).is_relative_to(folder) for folder in shown) and path.count("/") > 1:
            shown.append(path)
    return shown[1:]
