"""A Slurm cluster of two nodes on this host, for as long as a test lasts.

Its own munged, slurmctld and slurmd, on free ports and in a folder of their own, as whoever runs
the tests; no service of the system is used or changed. Each node says that it has 64 CPUs and
8 GPUs, so that the job runs as it is written; nothing touches those GPUs. The nodes' names are
loopback addresses, since a job looks for its first node by name.

Limits: nothing confines a job (no cgroups); Linux only.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

NODES = ("127.0.0.1", "127.0.0.2")
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
SYSTEM = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # daemons are not on a user's path
ABSENT = [name for name in NEEDED if not shutil.which(name, path=SYSTEM)]
SETTINGS = """
ClusterName=test
# The job's port is made of its number: clusters beside one another should differ.
FirstJobId={first_job}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
MailProg=/bin/true
# A node is given up after ten seconds, which a busy host does not keep it waiting for, and taken
# back when it reports again.
SlurmdTimeout=10
ReturnToService=2
KillWait=3
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={nodes[0]} NodeHostname={host} Port={ports[1]} CPUs=64 Gres=gpu:8
NodeName={nodes[1]} NodeHostname={host} Port={ports[2]} CPUs=64 Gres=gpu:8
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        bound = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in bound:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in bound]


def wait_for(happened: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.1)


def processes(*marks: str) -> Iterator[tuple[int, dict[str, str], str]]:
    """Process number, environment and command of all whose environment has these settings."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            lines = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
            command = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:  # ended, or another user's
            continue
        if command and all(mark in lines for mark in marks):
            yield int(entry.name), dict(x.split("=", 1) for x in lines if "=" in x), command


def kill(*marks: str) -> None:
    """Kill all such processes, and what they start meanwhile."""

    def gone() -> bool:
        found = [pid for pid, _, _ in processes(*marks)]
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return not found

    wait_for(gone, "end of killed processes", 20)


class Job:
    """A job of the cluster; what it and its steps say lies in `log`."""

    def __init__(self, cluster: Cluster, number: str, log: Path) -> None:
        self.cluster = cluster
        self.number = number
        self.log = log

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def shown(self, name: str) -> str:
        """A field of `scontrol show job`."""
        fields = self.cluster.command("scontrol", "--oneliner", "show", "job", self.number).split()
        return next(f.split("=", 1)[1] for f in fields if f.startswith(f"{name}="))

    def update(self, setting: str) -> None:
        self.cluster.command("scontrol", "update", f"JobId={self.number}", setting)

    def wait_for(self, happened: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Raises AssertionError, with all that is known of the job."""
        try:
            wait_for(happened, what, seconds)
        except AssertionError as error:
            ours = processes(self.cluster.mark, f"SLURM_JOB_ID={self.number}")
            known = [
                self.said()[-4000:], *(f"{pid} {command}" for pid, _, command in ours),
                self.cluster.command("scontrol", "show", "job", self.number),
                self.cluster.command("scontrol", "show", "step"),
                (self.cluster.folder / "slurmctld.log").read_text()[-4000:],
            ]  # fmt: skip
            raise AssertionError("\n".join([str(error), *known])) from None

    def wait_for_state(self, state: str, seconds: float = 60) -> None:
        self.wait_for(lambda: self.shown("JobState") == state, f"job in state {state}", seconds)

    def wait_for_requeue(self, restarts: int, seconds: float = 60) -> None:
        goal = (f"{restarts}", "PENDING")
        self.wait_for(
            lambda: (self.shown("Restarts"), self.shown("JobState")) == goal,
            f"restart {restarts} in the queue", seconds,
        )  # fmt: skip

    def start_now(self) -> None:
        """Slurm starts what was requeued after two minutes only, unless it is told to.

        Not at once: 22.05 may count a node twice that it just gave up, and the new start waits for
        ever for a node that it has.
        """
        time.sleep(4)
        self.update("StartTime=now")
        # Not "RUNNING": a start that fails at once may be over before it is looked at.
        self.wait_for(lambda: self.shown("JobState") != "PENDING", "start of the job")


class Cluster:
    """See the module. Use `running()`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ports = free_ports(3)
        for name in ("state", "spool", "gpus"):
            (folder / name).mkdir()
        for n in range(8):
            (folder / "gpus" / f"gpu{n}").symlink_to("/dev/null")
        (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpus/gpu[0-7]\n")
        (folder / "slurm.conf").write_text(
            SETTINGS.format(
                host=socket.gethostname().split(".")[0], user=user(), folder=folder, ports=ports,
                nodes=NODES, first_job=1 + os.getpid() % 450,
            )
        )  # fmt: skip
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self.mark = f"SLURM_CONF={folder}/slurm.conf"
        self.daemons: list[subprocess.Popen[bytes]] = []
        outer = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH"))}
        self.environment = {**outer, "PATH": SYSTEM, "SLURM_CONF": f"{folder}/slurm.conf"}

    def start(self) -> None:
        files = ("socket", "key-file", "pid-file", "log-file", "seed-file")
        options = [f"--{name}={self.folder}/munge.{name.removesuffix('-file')}" for name in files]
        self.daemon("munged", "--foreground", "--force", *options)
        wait_for((self.folder / "munge.socket").exists, "munged")
        self.daemon("slurmctld", "-D", "-c")
        for name in NODES:
            self.start_node(name)
        wait_for(lambda: self.states() == ["idle", "idle"], "idle nodes")

    def daemon(self, *command: str, **more: str) -> None:
        with (self.folder / "daemons.log").open("ab") as said:
            started = subprocess.Popen(
                command, env=self.environment | more, stdout=said, stderr=said,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self.daemons.append(started)

    def start_node(self, name: str) -> None:
        # What this daemon starts knows it by this variable, jobs by SLURMD_NODENAME.
        self.daemon("slurmd", "-D", "-N", name, NODE=name)

    def power_off(self, name: str) -> None:
        """Kill the node's daemon and all that it runs; the cluster is told nothing."""
        kill(self.mark, f"NODE={name}")
        kill(self.mark, f"SLURMD_NODENAME={name}")

    def states(self) -> list[str]:
        return self.command("sinfo", "--noheader", "--Node", "--format=%T").split()

    def command(self, *command: str, cwd: Path | None = None, **more: str) -> str:
        """What it prints.

        Raises:
            AssertionError: it failed.
        """
        done = subprocess.run(
            command, env=self.environment | more, cwd=cwd, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def submit(self, script: Path, log: Path, *arguments: str, cwd: Path, **more: str) -> Job:
        """Arguments of sbatch begin with a dash; the others are the script's."""
        options = [a for a in arguments if a.startswith("-")]
        rest = [a for a in arguments if a not in options]
        number = self.command(
            "sbatch", "--parsable", f"--output={log}", *options, str(script), *rest, cwd=cwd, **more
        )
        return Job(self, number.strip(), log)

    def stop(self) -> None:
        kill(self.mark)
        for daemon in self.daemons:
            daemon.wait()


def user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


@contextmanager
def running() -> Iterator[Cluster]:
    # Not below pytest's folder: the path of a socket may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        cluster = Cluster(Path(folder))
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
