"""A Slurm of one node and a Ray head of our own, on loopback, in folders of their own; ended by pid."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests

from tests.conftest import free_port

_CONF = """
ClusterName=subhulltest
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
KillWait=20
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 Gres=gpu:2 State=UNKNOWN
PartitionName=work Nodes={host} Default=YES MaxTime=60 State=UP
PartitionName=closed Nodes={host} MaxTime=60 State=DOWN
"""
_GRES = "AutoDetect=off\nNodeName={host} Name=gpu File=/dev/null\nNodeName={host} Name=gpu File=/dev/zero\n"


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[Path]:
    """slurmctld, slurmd and munged; yields slurm.conf. Its two GPUs are files that are none."""
    programs = [
        shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin") for name in ("munged", "slurmctld", "slurmd")
    ]
    if not all(programs) or not shutil.which("sbatch"):
        pytest.skip("no Slurm here (munged, slurmctld, slurmd, sbatch)")
    if os.geteuid() != 0:
        pytest.skip("slurmd starts jobs as root only")
    munged, slurmctld, slurmd = map(str, programs)
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(mode=0o700)
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    host = socket.gethostname().split(".")[0]
    conf = folder / "slurm.conf"
    conf.write_text(_CONF.format(host=host, user="root", folder=folder, ports=(free_port(), free_port())))
    (folder / "gres.conf").write_text(_GRES.format(host=host))
    paths = {"key-file": key, "socket": key.with_name("socket"), "pid-file": key.with_name("pid")}
    paths |= {"log-file": key.with_name("log"), "seed-file": key.with_name("seed")}
    keeper = [munged, "--foreground", "--force", *(f"--{name}={path}" for name, path in paths.items())]
    commands = [keeper, [slurmctld, "-D", "-c", "-f", str(conf)], [slurmd, "-D", "-N", host, "-f", str(conf)]]
    started: list[subprocess.Popen[bytes]] = []
    env = os.environ | {"SLURM_CONF": str(conf)}

    def answers(*command: str) -> Callable[[], bool]:
        def ask() -> bool:
            assert all(p.poll() is None for p in started), (folder / "log").read_text()[-2000:]
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=20)
            return done.returncode == 0 and ("sinfo" not in command or "idle" in done.stdout)

        return ask

    try:
        with (folder / "log").open("wb") as log:
            for command, ready in zip(
                commands,
                (paths["socket"].exists, answers("scontrol", "ping"), answers("sinfo", "-h", "-p", "work", "-o", "%t")),
                strict=True,
            ):
                started.append(subprocess.Popen(command, stdout=log, stderr=log, env=env))
                until(ready, 40)
        yield conf
    finally:
        end(started[::-1])


@dataclass(frozen=True)
class RayHead:
    """unshared: a folder of whose path the node has another one, here at `there`; None where that cannot be had."""

    address: str
    token: str
    unshared: Path | None
    there: Path


@contextmanager
def ray_head(folder: Path) -> Iterator[RayHead]:
    """A Ray of one node with two CPUs and two GPUs that it only believes in; nobody gets in without the token."""
    pytest.importorskip("ray")
    unshared = folder / "unshared"
    unshared.mkdir()
    apart = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"', str(unshared)]
    can = shutil.which("unshare") and subprocess.run([*apart, "true"], capture_output=True).returncode == 0
    port, token = free_port(), secrets.token_hex(32)
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--node-ip-address=127.0.0.1"),
        *(
            f"--port={free_port()}",
            "--include-dashboard=true",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={port}",
        ),
        *("--num-cpus=2", "--num-gpus=2", "--disable-usage-stats", f"--temp-dir={folder}"),
        *("--object-store-memory=100000000", f"--ray-client-server-port={free_port()}"),
    ]
    env = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    address = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        head = subprocess.Popen([*apart, *command] if can else command, stdout=log, stderr=log, env=env)

    def ready() -> bool:
        assert head.poll() is None, (folder / "log").read_text()[-2000:]
        with suppress(requests.RequestException):
            headers = {"Authorization": f"Bearer {token}"}
            return requests.get(f"{address}/api/jobs/", headers=headers, timeout=5).status_code == 200
        return False

    try:
        until(ready, 90)
        yield RayHead(address, token, unshared if can else None, Path(f"/proc/{head.pid}/root{unshared}"))
    finally:
        end([head])


def until(ready: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"not ready after {seconds} s"
        time.sleep(0.2)


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Terminate them, the first one first, and all that they started; by pid."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
            process.terminate()
            _, alive = psutil.wait_procs(family, timeout=8)
            for left in alive:
                with suppress(psutil.NoSuchProcess):
                    left.kill()
        process.wait(timeout=10)
