import sys

import pytest
import torch

from red_mcore.rollout.environment import set_environment

ON_CPU = {"VLLM_CPU_OMP_THREADS_BIND", "TORCH_COMPILE_DISABLE"}


@pytest.fixture
def environment(monkeypatch):
    """An environment of our own, in a process that has imported no reader of it."""
    for reader in ("vllm", "torch._dynamo.config", "huggingface_hub.constants"):
        monkeypatch.delitem(sys.modules, reader, raising=False)
    variables = {"VLLM_LOGGING_LEVEL": "DEBUG"}
    monkeypatch.setattr("os.environ", variables)
    return variables


def test_cpu_settings_stay_away_from_a_gpu(environment, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    set_environment(offline=False)
    assert environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert environment["VLLM_LOGGING_LEVEL"] == "DEBUG", "a user's level stands"
    assert not {*ON_CPU, "HF_HUB_OFFLINE"} & environment.keys()

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    set_environment(offline=True)
    assert {*ON_CPU, "HF_HUB_OFFLINE"} <= environment.keys()


def test_a_setting_that_comes_too_late_is_refused(environment, monkeypatch):
    set_environment(offline=False)
    for reader in ("vllm", "huggingface_hub.constants"):
        monkeypatch.setitem(sys.modules, reader, object())
    set_environment(offline=False)  # changes nothing
    with pytest.raises(RuntimeError, match="HF_HUB_OFFLINE=1 comes too late"):
        set_environment(offline=True)
