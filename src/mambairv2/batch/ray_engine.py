"""Many files on a Ray cluster: workers that hold the network, and a driver that hands out files."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace

import ray
from ray.exceptions import RayError

from mambairv2.batch.outcome import EngineError, Outcome, Reading, Watcher
from mambairv2.batch.work import Work
from mambairv2.batch.work_list import Job
from mambairv2.files import atomic, storage
from mambairv2.restoration.choosing import Choosing
from mambairv2.restoration.memory import keep_freed_memory
from mambairv2.restoration.restorer import Restorer

ATTEMPTS = 3
"""How often a file is tried when its worker dies."""


class Worker:
    """A process with the network, which restores one file at a time."""

    def __init__(self, restorer: Restorer | Choosing, device: str, reading: Reading) -> None:
        keep_freed_memory()
        self._restorer = restorer.on(device)
        self._reading = reading
        self._scratch = ExitStack().enter_context(atomic.scratch())

    def ready(self) -> None:
        """Return once the network is loaded."""

    def restore(self, job: Job) -> Outcome:
        """Fetch, restore and upload one file."""
        work = Work(job, self._reading, self._scratch)
        work.fetch()
        work.restore(self._restorer)
        return work.put()


def restore_on_ray(
    restorer: Restorer | Choosing,
    device: str,
    jobs: Iterable[Job],
    reading: Reading,
    watcher: Watcher,
    workers: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Restore files on the cluster that Ray finds (`RAY_ADDRESS`, or one on this machine), or start one here.

    restorer: on the CPU; each worker has it on `device`. workers: by default one a GPU, or one a machine if there are
    none or the device is the CPU. Local paths must mean the same files on every machine. A worker that dies is
    replaced, and its file is handed out again. tell: is given a line on each step before the first file. Raises
    EngineError where no worker can be started.
    """
    ours = not ray.is_initialized()
    if ours:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        _Driver(restorer, device, jobs, reading, watcher, tell).run(workers)
    finally:
        if ours:
            ray.shutdown()


class _Driver:
    def __init__(
        self,
        restorer: Restorer | Choosing,
        device: str,
        jobs: Iterable[Job],
        reading: Reading,
        watcher: Watcher,
        tell: Callable[[str], None],
    ) -> None:
        self._watcher, self._tell = watcher, tell
        self._waiting = deque((job, 1) for job in jobs)
        self._restorer, self._device, self._reading = ray.put(restorer), device, reading
        self._busy: dict[ray.ObjectRef, tuple[ray.actor.ActorHandle, Job | None, int]] = {}

    def run(self, workers: int | None) -> None:
        """Hand out all files. A worker gets the next one when it has finished one."""
        gpus = int(ray.cluster_resources().get("GPU", 0)) if self._device != "cpu" else 0
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        count = min(workers or gpus or len(machines), len(self._waiting))
        fewest = min(machine.get("CPU", 1) for machine in machines)
        share = max(1, fewest // math.ceil(count / len(machines))) if count else 1
        self._kind = ray.remote(Worker).options(
            num_cpus=1 if gpus else share,  # Ray gives the network as many threads
            num_gpus=min(1, gpus / count) if gpus and count else 0,
            scheduling_strategy="SPREAD",
        )
        self._tell(
            f"Ray: {count} worker{'s' * (count != 1)} on {len(machines)} machine{'s' * (len(machines) != 1)}, "
            "loading the network"
        )
        for _ in range(count):
            self._start()
        while self._waiting or any(job is not None for _, job, _ in self._busy.values()):
            self._wait()

    def _start(self) -> None:
        worker = self._kind.remote(self._restorer, self._device, self._reading)
        self._busy[worker.ready.remote()] = (worker, None, 0)

    def _wait(self) -> None:
        """Wait for the first worker that finishes and give it the next file."""
        [ref], _ = ray.wait(list(self._busy))
        worker, job, attempt = self._busy.pop(ref)
        try:
            outcome = ray.get(ref)
        except RayError as error:
            self._died(job, attempt, error)
            return
        if job is not None:
            self._watcher.done(replace(outcome, job=job))
        if self._waiting:
            job, attempt = self._waiting.popleft()
            self._watcher.begun(job)
            named = replace(job, source=storage.absolute(job.source), target=storage.absolute(job.target))
            self._busy[worker.restore.remote(named)] = (worker, job, attempt)

    def _died(self, job: Job | None, attempt: int, error: RayError) -> None:
        """Hand the file out again, to a new worker. One that cannot even start is not replaced."""
        if job is None:
            if self._waiting and not self._busy:
                raise EngineError(f"no worker could be started ({_reason(error)})") from error
            return
        if attempt < ATTEMPTS:
            self._waiting.appendleft((job, attempt + 1))
        else:
            message = f"{job.source}: its worker died {ATTEMPTS} times ({_reason(error)}); is there memory enough?"
            self._watcher.done(Outcome(job, error=message))
        if self._waiting:
            self._start()


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
