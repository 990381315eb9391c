"""What a run imports sooner or later; for the process that ``warm`` forks programs from."""

# ruff: noqa: E402, F401 - the environment has to be set before

import os

from red_mcore.rollout.environment import begin_imports, end_imports, set_environment

_before = dict(os.environ)
begin_imports()
set_environment(offline=True)
SETTINGS = {name: value for name, value in os.environ.items() if _before.get(name) != value}
"""Of the environment: who reads them has done so."""

import mlflow.store.tracking.sqlalchemy_store
import transformers.models.qwen2.modeling_qwen2
import vllm.entrypoints.llm
import vllm.model_executor.model_loader
import vllm.model_executor.models.qwen2
import vllm.v1.worker.cpu_worker

import red_mcore.train.trainer

end_imports()
