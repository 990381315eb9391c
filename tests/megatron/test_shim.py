import subprocess
import sys

import pytest
import torch

from red_mcore.megatron import shim

NO_GPU = not torch.cuda.is_available()


def in_new_process(*lines: str) -> None:
    """``install`` changes a process for good."""
    program = "\n".join(("import torch", "from red_mcore.megatron import shim", *lines))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(NO_GPU, reason="needs an NVIDIA GPU: torch.cuda.is_available() is false")
def test_with_a_gpu_nothing_is_replaced():
    in_new_process(
        "before = dict(vars(torch.cuda))",
        "shim.install()",
        "assert all(vars(torch.cuda)[name] is value for name, value in before.items())",
        "assert shim.device().type == 'cuda'",
        "with shim.on_device():",
        "    assert torch.zeros(1, device='cuda').is_cuda",
    )


@pytest.mark.skipif(
    not NO_GPU, reason="this machine has an NVIDIA GPU, where the shim is not installed"
)
def test_without_a_gpu_the_cpu_answers():
    in_new_process(
        "shim.install()",
        "shim.install()",
        "assert torch.cuda.current_device() == shim.device() == torch.device('cpu')",
        "torch.cuda.synchronize()",
        "with torch.cuda.stream(torch.cuda.Stream()):",
        "    torch.cuda.current_stream().wait_stream(torch.cuda.default_stream())",
        "state = torch.cuda.get_rng_state()",
        "drawn = torch.rand(3)",
        "torch.set_rng_state(state)",
        "assert torch.equal(torch.rand(3), drawn)",
    )


@pytest.mark.skipif(
    not NO_GPU, reason="this machine has an NVIDIA GPU, where the shim is not installed"
)
def test_cuda_devices_become_the_cpu_only_inside_the_context():
    with shim.on_device():
        for device in ("cuda", "cuda:0", torch.device("cuda")):
            assert torch.empty(2, device=device).device.type == "cpu"
            assert torch.ones(2).to(device).device.type == "cpu"
            assert torch.ones(2).to(device=device).device.type == "cpu"
        assert torch.ones(2).cuda().device.type == "cpu"
        assert torch.ones(2, dtype=torch.bfloat16).type() == "torch.cuda.BFloat16Tensor"
        assert torch.ones(2).to(torch.float64).dtype == torch.float64
    with pytest.raises((RuntimeError, AssertionError), match="CUDA"):
        torch.empty(2, device="cuda")
