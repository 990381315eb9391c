"""Traces of a teacher for the problems of any data source; stop it at any moment, the same command
goes on.

    python tools/distill.py --teacher DIR|NAME|http://HOST:8000/v1 --data FILE --out DIR \\
        [options] [a=b ...]

The teacher is a Hugging Face folder or hub name, sampled by vLLM in this process, or an
OpenAI-compatible address; its key, if it wants one, is read from the environment variable
OPENAI_API_KEY (--key-variable names another). a=b changes a field of the data, e.g.
problem_field=question; without --data the problems are the built-in arithmetic.

--out gets traces.jsonl, problems and traces in the project's schema; manifest.json; and
ledger.jsonl, every answer as it came, which a killed or changed command goes on from: with other
--samples or --keep it asks only what is missing. Exit code: 0 done, 1 the teacher failed, 2 bad
input (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from red_mcore.cli import common
from red_mcore.config.overrides import override
from red_mcore.config.recipe import Data, RecipeError, Reward
from red_mcore.config.redaction import guard_output, redacted
from red_mcore.distillation.settings import RULES, Keeping, Limits, Prices, Sampling
from red_mcore.system.exit_codes import INTERRUPTED

if TYPE_CHECKING:
    from red_mcore.distillation.teacher import Task, Teacher

ADDRESSES = ("http://", "https://")
OF_ADDRESSES: tuple[str, ...] = ("model", "requests_per_minute", "tokens_per_minute")
OF_PROCESS: tuple[str, ...] = ("tensor", "dtype", "engine", "chat_template")
"""Options that one kind of teacher takes alone."""
FAILED = 1


def main(arguments: list[str]) -> int:
    """The exit code."""
    guard_output()
    options = _parser().parse_intermixed_args(arguments)
    is_address = options.teacher.startswith(ADDRESSES)
    if not is_address:
        # Before torch and transformers are imported: they read it then.
        from red_mcore.rollout.environment import set_environment

        set_environment(offline=Path(options.teacher).is_dir() and _is_local(options.data))
    from red_mcore.distillation import run

    try:
        common.check_positive(options, "tensor")
        _check_kind(options, is_address)
        sampling = _sampling(options)
        job = run.Job(
            data=_data(options, sampling),
            out=options.out,
            sampling=sampling,
            keeping=Keeping(options.keep, options.samples, options.count, options.most),
            limits=Limits(
                concurrency=options.concurrency or (16 if is_address else 256),
                requests_per_minute=options.requests_per_minute,
                tokens_per_minute=options.tokens_per_minute,
                timeout_seconds=options.timeout,
                patience_seconds=options.patience,
            ),
            prices=Prices(options.prompt_price, options.answer_price),
            reward=Reward(
                workers=options.workers,
                timeout_seconds=options.verdict_timeout,
                verdict=options.verdict,
                boxed_only=not options.any_answer,
            ),
            source=options.source,
            suffix=f".{options.format}",
            add=options.add,
            expected_tokens=options.expected_tokens,
            only_estimate=options.estimate,
        )

        def engage(tasks: Sequence[Task]) -> Teacher:
            return _address(options, job) if is_address else _local(options, job, tasks)

        run.distil(job, engage, _say)
    except (RecipeError, OSError) as error:
        return common.refuse("distill", error)
    except RuntimeError as error:
        line = " ".join(redacted(str(error)).split())
        print(f"distill: error: {line}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _check_kind(options: argparse.Namespace, is_address: bool) -> None:
    """RecipeError for an option of the other kind of teacher."""
    names, fix = OF_ADDRESSES, "is for an address (http://...): leave it out"
    if is_address:
        names, fix = OF_PROCESS, "is for a teacher in this process: give it to the server"
    for name in names:
        if getattr(options, name) is not None:
            raise RecipeError(f"--{name.replace('_', '-')} {fix}")


def _say(line: str) -> None:
    print(line, flush=True)


def _is_local(data: str | None) -> bool:
    return data is None or Path(data).exists()


def _sampling(options: argparse.Namespace) -> Sampling:
    return Sampling(
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=options.max_tokens,
        system_prompt=options.system_prompt,
        suffix=options.suffix,
        template_arguments=_object("--template-arguments", options.template_arguments),
        banned=tuple(options.ban),
        extra=_object("--extra", options.extra),
        seed=options.seed,
    )


def _data(options: argparse.Namespace, sampling: Sampling) -> Data:
    """RecipeError for the fields of the prompt, which are options here."""
    data = override(Data(path=options.data), options.overrides)
    for field, option in (
        ("system_prompt", "--system-prompt"),
        ("instruction", "--suffix"),
        ("template_arguments", "--template-arguments"),
    ):
        if getattr(data, field):
            raise RecipeError(f"{field}={getattr(data, field)}: use {option}")
    return replace(data, held_out=0)


def _address(options: argparse.Namespace, job: Any) -> Teacher:
    from red_mcore.distillation.address import Address

    return Address(
        options.teacher,
        options.model,
        job.sampling,
        job.limits,
        key_variable=options.key_variable,
        limit_field=options.limit_field,
        say=_say,
    )


def _local(options: argparse.Namespace, job: Any, tasks: Sequence[Task]) -> Teacher:
    from red_mcore.distillation.local import Local

    return Local(
        options.teacher,
        tasks,
        job.sampling,
        concurrency=job.limits.concurrency,
        chat_template=options.chat_template,
        tensor=options.tensor or 1,
        dtype=options.dtype or "auto",
        options=_object("--engine", options.engine),
    )


def _object(option: str, text: str | None) -> dict[str, Any]:
    """The JSON object of an option; RecipeError for anything else."""
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise RecipeError(f'{option} is not JSON ({error}): write {{"name": value}}') from None
    if not isinstance(found, dict):
        raise RecipeError(f'{option} {text}: want a JSON object, {{"name": value}}')
    return found


def _parser() -> argparse.ArgumentParser:
    parser = common.parser(
        "distill",
        __doc__,
        usage="python tools/distill.py --teacher DIR|NAME|ADDRESS [--data FILE] --out DIR [options]"
        " [a=b ...]",
    )
    parser.add_argument("overrides", metavar="a=b", nargs="*", help="change a field of the data")
    parser.add_argument("--teacher", required=True, metavar="DIR|NAME|ADDRESS")
    parser.add_argument("--data", metavar="FILE", help="file, folder, hub name or function")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--estimate", action="store_true", help="tell cost and time, ask nothing")
    _add_sampling(parser.add_argument_group("how the teacher samples"))
    _add_keeping(parser.add_argument_group("what is kept"))
    _add_address(parser.add_argument_group("an address"))
    group = parser.add_argument_group("a teacher in this process")
    group.add_argument("--tensor", type=int, metavar="N", help="GPUs that share it (1)")
    group.add_argument("--dtype", metavar="NAME", help="(that of its config.json)")
    group.add_argument("--chat-template", metavar="FILE", help="in the place of its own")
    group.add_argument("--engine", metavar="JSON", help="further arguments of vllm.LLM")
    return parser


def _add_sampling(group: Any) -> None:
    usual = Sampling()
    group.add_argument("--temperature", type=float, default=usual.temperature, metavar="X")
    group.add_argument("--top-p", type=float, default=usual.top_p, metavar="X")
    group.add_argument(
        "--max-tokens", type=int, default=usual.max_tokens, metavar="N", help="of an answer (4096)"
    )
    group.add_argument("--system-prompt", metavar="TEXT")
    group.add_argument("--suffix", default="", metavar="TEXT", help="a line behind each problem")
    group.add_argument("--template-arguments", metavar="JSON", help="of the chat template")
    group.add_argument(
        "--ban",
        action="append",
        default=[],
        metavar="TEXT",
        help="not to be sampled; again for more",
    )
    group.add_argument("--extra", metavar="JSON", help="more settings, as '{\"top_k\": 20}'")
    group.add_argument("--seed", type=int, default=0, metavar="N")


def _add_keeping(group: Any) -> None:
    group.add_argument("--samples", type=int, default=1, metavar="N", help="answers each (1)")
    group.add_argument("--keep", choices=RULES, default="all")
    group.add_argument(
        "--count", type=int, default=1, metavar="N", help="of k_correct and fill: correct ones (1)"
    )
    group.add_argument(
        "--most", type=int, default=16, metavar="N", help="of fill: answers each, at most (16)"
    )
    group.add_argument("--add", action="store_true", help="keep the traces that the rows have")
    group.add_argument("--source", metavar="NAME", help="what traces call the teacher")
    group.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl")
    group.add_argument("--any-answer", action="store_true", help="also answers without a box")
    group.add_argument("--verdict", metavar="MODULE:FUNCTION", help="your own, not math-verify's")
    group.add_argument("--workers", type=int, default=1, metavar="N", help="verifiers (1)")
    group.add_argument("--verdict-timeout", type=float, default=5.0, metavar="SECONDS")


def _add_address(group: Any) -> None:
    usual = Limits()
    group.add_argument("--model", metavar="NAME", help="what the server calls it (its only one)")
    group.add_argument("--key-variable", default="OPENAI_API_KEY", metavar="NAME")
    group.add_argument("--concurrency", type=int, metavar="N", help="at once (16; vLLM here: 256)")
    group.add_argument("--requests-per-minute", type=float, metavar="X")
    group.add_argument("--tokens-per-minute", type=float, metavar="X")
    group.add_argument("--timeout", type=float, default=usual.timeout_seconds, metavar="SECONDS")
    group.add_argument(
        "--patience",
        type=float,
        default=usual.patience_seconds,
        metavar="SECONDS",
        help="of one request with all its tries (1800)",
    )
    group.add_argument(
        "--limit-field",
        choices=("max_tokens", "max_completion_tokens"),
        default="max_tokens",
        help="what the server calls the most tokens of an answer",
    )
    group.add_argument("--prompt-price", type=float, default=0.0, metavar="X", help="per million")
    group.add_argument("--answer-price", type=float, default=0.0, metavar="X", help="per million")
    group.add_argument(
        "--expected-tokens", type=float, metavar="N", help="of an answer, to estimate"
    )
