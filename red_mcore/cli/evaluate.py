"""Accuracy on benchmarks, of a model or of recorded responses; stop it at any moment, the same
command goes on.

    python tools/evaluate.py --model DIR --benchmarks AIME24,MATH-500 [--data DIR] \\
        [--protocol NAME] [a=b ...]
    python tools/evaluate.py --generations FILE.jsonl [--out DIR]

DIR is a Hugging Face folder or hub name, a run (its newest checkpoint) or a checkpoint. ``--data``
is a folder with the benchmarks' files; without it they come from the hub. a=b changes a field of
the protocol, e.g. max_tokens=2048.

--out (runs/evaluations/...) gets items.jsonl, every problem with its graded responses;
summary.json; and MLflow's database. ``--against DIR`` compares with another evaluation of the same
problems by a paired bootstrap. Exit code: 0 done, 1 a rank failed, 2 bad input (one line on
stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from red_mcore.cli import common
from red_mcore.config.overrides import override
from red_mcore.config.recipe import Protocol, RecipeError, Reward, Tracking
from red_mcore.config.redaction import guard_output
from red_mcore.evaluation import benchmarks, items, protocols
from red_mcore.rewards import functions
from red_mcore.samples.records import Problem
from red_mcore.samples.responses import Response
from red_mcore.system import launch, streams
from red_mcore.system.devices import has_gpu
from red_mcore.system.exit_codes import INTERRUPTED
from red_mcore.train import symptoms

if TYPE_CHECKING:
    from red_mcore.evaluation import standalone


def main(arguments: list[str]) -> int:
    """The exit code."""
    guard_output()
    options = _parser().parse_intermixed_args(arguments)
    try:
        common.check_positive(
            options, "limit", "kv_cache_mib", "workers", "timeout", "ranks", "tensor"
        )
        names = list(filter(None, (options.benchmarks or "").split(",")))
        protocol = override(protocols.protocol(options.protocol), options.overrides)
        if options.samples is not None:
            protocol = replace(protocol, samples=options.samples, competition_samples=None)
        protocols.check(protocol, names, "--protocol, --samples or a=b")
        others = items.read(options.against) if options.against else []
        if options.generations is not None:
            return _grade(options, protocol, others)
        return _evaluate(options, names, protocol, others)
    except RecipeError as error:
        return common.refuse("evaluate", error)
    except KeyboardInterrupt:
        return INTERRUPTED


def _evaluate(
    options: argparse.Namespace,
    names: list[str],
    protocol: Protocol,
    others: Sequence[Response],
) -> int:
    """Sample and grade; everything that can be refused is, before a rank starts."""
    if options.model is None:
        raise RecipeError(
            "nothing to evaluate: give --model DIR and --benchmarks, or --generations FILE.jsonl"
        )
    benchmarks.check(names, options.data)
    world = options.ranks
    if joined := launch.join():
        world = int(os.environ["WORLD_SIZE"])
    if world % options.tensor:
        raise RecipeError(f"--tensor {options.tensor} does not divide the {world} ranks")
    _begin_imports(options)
    from red_mcore.convert.conversion import find_model
    from red_mcore.evaluation import results, standalone

    model, faults = find_model(options.model)
    if not joined or os.environ["RANK"] == "0":  # once, where all ranks come through here
        for fault in faults:
            print(f"warning: {fault}", file=sys.stderr)
    job = standalone.Job(
        model=model,
        benchmarks=tuple(names),
        data=options.data,
        limit=options.limit,
        protocol=protocol,
        out=options.out or results.FOLDER / f"{results.name_of(model)}-{options.protocol}",
        tensor=options.tensor,
        dtype=options.dtype,
        kv_cache_mib=options.kv_cache_mib,
        reward=_reward(options),
        chat_template=options.chat_template,
    )
    # Each rank will prepare the same again: a process that has not started one can still refuse.
    problems = standalone.prepare(job).problems
    functions.try_out(job.reward, lambda _: problems)
    _check_comparable(problems, others)
    work = (options, job, others, world)
    if joined:
        return _rank(*work)
    return launch.launch(_rank, work, world, fork=not has_gpu(), on_signal="what is sampled stays")


def _begin_imports(options: argparse.Namespace) -> None:
    """What precedes the import of an engine."""
    from red_mcore.rollout.environment import begin_imports, set_environment

    begin_imports()
    set_environment(offline=options.data is not None and options.model.is_dir())


def _check_comparable(
    problems: Mapping[str, Sequence[Problem]], others: Sequence[Response]
) -> None:
    """RecipeError where the other evaluation, if there is one, is of other problems."""
    from red_mcore.evaluation.summary import check_comparable, places

    if others:
        here = {name: {(each.id, each.text) for each in asked} for name, asked in problems.items()}
        check_comparable(here, places(others))


def _rank(
    options: argparse.Namespace, job: standalone.Job, others: Sequence[Response], world: int
) -> int:
    """Exit code of one of the ranks."""
    streams.outlive()
    guard_output()
    _begin_imports(options)
    from red_mcore.evaluation import standalone

    try:
        summary = standalone.run(job, world)
        if summary is not None:
            # The folder may hold further benchmarks, of earlier commands.
            responses = [each for each in items.read(job.out) if each.benchmark in job.benchmarks]
            parameters = {f"protocol.{key}": value for key, value in asdict(job.protocol).items()}
            _report(options, job.out, responses, others, summary, parameters)
        return 0
    except RecipeError as error:
        return common.refuse("evaluate", error)
    except KeyboardInterrupt:
        return INTERRUPTED


def _grade(options: argparse.Namespace, protocol: Protocol, others: Sequence[Response]) -> int:
    """Grade recorded responses."""
    from red_mcore.evaluation import asking, generations, results, standalone

    if options.model is not None:
        raise RecipeError("--generations are graded without a model: leave out --model")
    out = options.out or results.FOLDER / options.generations.stem
    recorded = generations.read(options.generations)
    responses = [each.response for each in recorded]
    problems = generations.problems(responses)
    _check_comparable(problems, others)
    # What decides the grades: the folder is refused to an evaluation of anything else.
    about = {"generations": str(options.generations.resolve()), "boxed_only": protocol.boxed_only}
    if options.verdict is not None:
        about["verdict"] = options.verdict
    items.claim(out, about | {"problems": asking.digests(problems)})
    reward = _reward(options)
    functions.try_out(reward, lambda _: problems)
    print(f"{len(responses)} responses to {', '.join(problems)}; results go to {out}", flush=True)
    graded, found = standalone.grade_recorded(recorded, reward, protocol.boxed_only, out)
    _report(options, out, graded, others, {**about, **found}, {})
    if agreement := found.get("agreement"):
        said = f"{agreement['agree']} of {agreement['responses']} responses"
        if agreement["agree"] < agreement["responses"]:
            said += f"; the others are in {out / standalone.DISAGREEMENTS}"
        print(f"agrees with the recorded verdicts on {said}")
    return 0


def _report(
    options: argparse.Namespace,
    out: Path,
    responses: Sequence[Response],
    others: Sequence[Response],
    summary: dict[str, Any],
    parameters: dict[str, Any],
) -> None:
    """Keep the results, and show them."""
    from red_mcore.evaluation.results import Results

    tracking = Tracking(mlflow=options.mlflow, uri=options.tracking_uri, experiment="evaluations")
    # Beside an --out of the user's own, else where training runs have theirs.
    shared = out.absolute().parent if options.out else Path("runs")
    file = Results(out, tracking, shared, options.against, others).keep(
        summary, responses, parameters
    )
    _print(summary)
    print(file)


def _reward(options: argparse.Namespace) -> Reward:
    if options.verdict is not None:
        functions.check_path("--verdict", options.verdict)
    return Reward(workers=options.workers, timeout_seconds=options.timeout, verdict=options.verdict)


def _print(summary: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    heads = "benchmark,problems,mean,pass@k,majority,tokens,truncated,not judged"
    table = Table(box=box.SIMPLE_HEAD)
    for head in heads.split(","):
        table.add_column(head, no_wrap=True)
    for name, n in summary["benchmarks"].items():
        verdicts = n["verdicts"]
        k, best = list(n["pass"].items())[-1]
        table.add_row(
            name,
            f"{n['items']} x {n['samples']}",
            _percent(n["mean"], n["stderr"]),
            f"{100 * best:.1f} (k={k})",
            f"{100 * n['majority']:.1f}",
            _known("{:.0f}", n["length_tokens"]),
            _known("{:.1f} %", n["truncated"] and 100 * n["truncated"]),
            str(sum(verdicts.values()) - verdicts["correct"] - verdicts["wrong"]),
        )
    if len(summary["benchmarks"]) > 1:
        table.add_row("average", "", _percent(**summary["average"]))
    common.screen().print(table)
    for name, n in summary["benchmarks"].items():
        limit = "the protocol's max_tokens"
        if wrong := symptoms.of_answers(f"answers to {name}", n["verdicts"], n["truncated"], limit):
            print(f"warning: {wrong[1]}: {symptoms.REMEDIES[wrong[0]]}")
    against = summary.get("against", {"benchmarks": {}})
    for name, found in against["benchmarks"].items():
        low, high = 100 * found["low"], 100 * found["high"]
        print(
            f"{name}: {100 * found['difference']:+.1f} against {against['evaluation']},"
            f" 95 % interval {low:+.1f} to {high:+.1f} (paired bootstrap over problems)"
        )


def _percent(mean: float, stderr: float | None) -> str:
    return f"{100 * mean:.1f}" + _known(" ± {:.1f}", stderr and 100 * stderr)


def _known(form: str, value: float | None) -> str:
    return "" if value is None else form.format(value)


def _parser() -> argparse.ArgumentParser:
    parser = common.parser(
        "evaluate",
        __doc__,
        usage="python tools/evaluate.py"
        " (--model DIR --benchmarks A,B | --generations FILE.jsonl) [options] [a=b ...]",
        epilog=f"benchmarks: {', '.join(benchmarks.KNOWN)}, or any NAME.jsonl in --data",
    )
    add = parser.add_argument
    add("overrides", metavar="a=b", nargs="*", help="change a field of the protocol")
    add("--model", type=Path, metavar="DIR")
    add("--benchmarks", metavar="A,B")
    add("--data", metavar="DIR", help="folder of the benchmarks' files")
    add("--limit", type=int, metavar="N", help="only the first N problems of each")
    names = f"{', '.join(protocols.NAMES)} (default)"
    add("--protocol", default="default", metavar="NAME", help=names)
    add("--samples", type=int, metavar="K", help="responses per problem, of every benchmark")
    add("--generations", type=Path, metavar="FILE", help="grade recorded responses")
    add("--out", type=Path, metavar="DIR", help="folder of the results")
    against = "results of another evaluation, to compare with"
    add("--against", type=Path, metavar="DIR", help=against)
    add("--chat-template", metavar="FILE", help="jinja template in the place of the model's")
    add("--ranks", type=int, default=1, metavar="N", help="processes, one per GPU (1)")
    tensor = "tensor-parallel size of an engine (1)"
    add("--tensor", type=int, default=1, metavar="N", help=tensor)
    dtype = "of the engine; as stored if not given"
    add("--dtype", choices=("float32", "bfloat16"), help=dtype)
    cache = "cache of an engine's rank; by default what fits"
    add("--kv-cache-mib", type=int, metavar="N", help=cache)
    add("--verdict", metavar="MODULE:FUNCTION", help="judges in the place of math-verify")
    add("--workers", type=int, default=2, metavar="N", help="verifier processes per engine (2)")
    patience = Reward().timeout_seconds
    add("--timeout", type=float, default=patience, metavar="S", help="seconds of one verdict")
    add("--no-mlflow", dest="mlflow", action="store_false")
    tracking = "MLflow server; mlruns.db beside --out if not given"
    add("--tracking-uri", metavar="URI", help=tracking)
    return parser
