"""Work done in several processes forked from this one, which has imported torch already."""

import os
import socket
import traceback
import warnings

import torch
import torch.distributed as dist


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def forked(work, folder, world=2):
    """Return what `work(rank)` returns in each process, tensors and plain values."""
    folder.mkdir(exist_ok=True)
    # As `potstill.distributed.launcher` and torchrun set them.
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port(), "WORLD_SIZE": str(world)}
    common |= {"TORCHELASTIC_RUN_ID": "test", "GLOO_SOCKET_IFNAME": "lo", "GROUP_RANK": "0"}
    pids = [_start(work, folder, rank, common) for rank in range(world)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    errors = [path.read_text() for path in folder.glob("error-*.txt")]
    assert not any(codes), "\n".join([str(codes), *errors])
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]


def _start(work, folder, rank, common):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.environ.update(common | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        warnings.simplefilter("ignore")
        torch.save(work(rank), folder / f"{rank}.pt")
        code = 0
    except BaseException:
        (folder / f"error-{rank}.txt").write_text(traceback.format_exc())
    finally:
        os._exit(code)  # whatever happens: this is not the process that reports the tests


def grouped(work):
    """Return `work` with a process group around it."""

    def inside(rank):
        dist.init_process_group("gloo")
        found = work(rank)
        dist.barrier()
        dist.destroy_process_group()
        return found

    return inside
