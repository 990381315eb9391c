"""Accuracy on benchmarks, of a model or of recorded responses; stop it at any moment, the same
command goes on.

    python tools/evaluate.py --model DIR --benchmarks AIME24,MATH-500 [--data DIR] [--protocol NAME] [a=b ...]
    python tools/evaluate.py --generations FILE.jsonl [--out DIR]

DIR is a Hugging Face folder or hub name, a run (its newest checkpoint) or a checkpoint. ``--data``
is a folder with the benchmarks' files; without it they come from the hub. a=b changes a field of
the protocol, e.g. max_tokens=2048.

--out (runs/evaluations/...) gets items.jsonl, every problem with its graded responses; summary.json; and MLflow's
database. ``--against DIR`` compares with another evaluation of the same problems by a paired bootstrap.
Exit code: 0 done, 1 a rank failed, 2 bad input (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from red_mcore.config.overrides import override
from red_mcore.config.recipe import Protocol, RecipeError, Reward, Tracking
from red_mcore.config.redaction import guard_output
from red_mcore.evaluation import benchmarks, items, protocols
from red_mcore.rewards import functions
from red_mcore.samples.responses import Response, shown
from red_mcore.system import disk, launch, streams
from red_mcore.system.devices import has_gpu
from red_mcore.system.exit_codes import BAD_INPUT, INTERRUPTED
from red_mcore.train import symptoms

if TYPE_CHECKING:
    from red_mcore.evaluation import standalone

SHOWN_RESPONSES = 50
"""Responses that MLflow gets as a table; items.jsonl has all."""


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    guard_output()
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_intermixed_args(arguments)
    try:
        _check_numbers(options)
        names = [name for name in (options.benchmarks or "").split(",") if name]
        protocol = override(protocols.protocol(options.protocol), options.overrides)
        if options.samples is not None:
            protocol = replace(protocol, samples=options.samples, competition_samples=None)
        protocols.check(protocol, names, "--protocol, --samples or a=b")
        others = items.read(options.against) if options.against is not None else []
        if options.generations is not None:
            return _grade(options, protocol, others)
        return _evaluate(options, names, protocol, others)
    except RecipeError as error:
        return _bad_input(error)
    except KeyboardInterrupt:
        return INTERRUPTED


def _bad_input(error: RecipeError) -> int:
    print(f"evaluate: error: {error}", file=sys.stderr)
    return BAD_INPUT


def _evaluate(
    options: argparse.Namespace,
    names: list[str],
    protocol: Protocol,
    others: Sequence[Response],
) -> int:
    if options.model is None:
        raise RecipeError(
            "nothing to evaluate: give --model DIR and --benchmarks, or --generations FILE.jsonl"
        )
    benchmarks.check(names, options.data)
    joined = launch.join()
    world = int(os.environ["WORLD_SIZE"]) if joined else options.ranks
    if world % options.tensor:
        raise RecipeError(f"--tensor {options.tensor} does not divide the {world} ranks")
    from red_mcore.rollout.environment import begin_imports, set_environment

    begin_imports()
    set_environment(offline=options.data is not None and options.model.is_dir())
    from red_mcore.convert.conversion import find_model
    from red_mcore.evaluation import standalone
    from red_mcore.evaluation.summary import check_comparable, places

    model, faults = find_model(options.model)
    for fault in faults if not joined or os.environ["RANK"] == "0" else ():
        print(f"warning: {fault}", file=sys.stderr)
    job = standalone.Job(
        model=model,
        benchmarks=tuple(names),
        data=options.data,
        limit=options.limit,
        protocol=protocol,
        out=options.out or Path("runs/evaluations") / f"{_model_name(model)}-{options.protocol}",
        tensor=options.tensor,
        dtype=options.dtype,
        kv_cache_mib=options.kv_cache_mib,
        reward=_reward(options),
        chat_template=options.chat_template,
    )
    problems = standalone.prepare(job).problems  # what is wrong is told before anything is started
    functions.try_out(job.reward, lambda _: problems)
    if others:
        check_comparable(
            {name: {(p.id, p.text) for p in found} for name, found in problems.items()},
            places(others),
        )
    if joined:
        return _rank(options, job, others, world)
    work = (options, job, others, world)
    return launch.launch(_rank, work, world, fork=not has_gpu(), on_signal="what is sampled stays")


def _rank(
    options: argparse.Namespace, job: standalone.Job, others: Sequence[Response], world: int
) -> int:
    """Exit code of one of the ranks."""
    streams.outlive()
    guard_output()
    from red_mcore.evaluation import standalone
    from red_mcore.rollout.environment import begin_imports, set_environment

    begin_imports()
    set_environment(offline=job.data is not None and options.model.is_dir())
    try:
        summary = standalone.run(job, world)
        if summary is not None:
            responses = [each for each in items.read(job.out) if each.benchmark in job.benchmarks]
            parameters = {f"protocol.{key}": value for key, value in asdict(job.protocol).items()}
            _report(options, job.out, responses, others, summary, parameters)
        return 0
    except RecipeError as error:
        return _bad_input(error)
    except KeyboardInterrupt:
        return INTERRUPTED


def _grade(options: argparse.Namespace, protocol: Protocol, others: Sequence[Response]) -> int:
    from red_mcore.evaluation import asking, generations, standalone
    from red_mcore.evaluation.summary import check_comparable, places, summarise, unjudged
    from red_mcore.rewards.verifier import Verifier
    from red_mcore.tracking.console import Watched

    if options.model is not None:
        raise RecipeError("--generations are graded without a model: leave out --model")
    out = options.out or Path("runs/evaluations") / options.generations.stem
    recorded = generations.read(options.generations)
    responses = [each.response for each in recorded]
    if others:
        check_comparable(places(responses), places(others))
    about = {"generations": str(options.generations.resolve()), "boxed_only": protocol.boxed_only}
    about |= {} if options.verdict is None else {"verdict": options.verdict}
    problems = generations.problems(responses)
    items.claim(out, about | {"problems": asking.digests(problems)})
    reward = _reward(options)
    functions.try_out(reward, lambda _: problems)
    print(f"{len(responses)} responses to {', '.join(problems)}; results go to {out}", flush=True)
    with Verifier(reward) as verifier:
        standalone.report_faults(verifier, problems)
        with Watched("responses graded") as watch:
            graded = generations.grade(responses, verifier, protocol.boxed_only, reward, watch)
    for path, failure in verifier.failures.items():
        print(f"warning: '{path}' failed, for the first time so:\n{failure}", file=sys.stderr)
    summary: dict[str, Any] = {**about, **summarise(graded)}
    if reward.verdict is not None and (names := unjudged(summary)):
        raise RecipeError(
            f"--verdict '{reward.verdict}' failed on all responses of {', '.join(names)}: see above"
        )
    items.write(out, graded)
    differing, judged = generations.disagreements(recorded, graded)
    if judged:
        disk.write_lines(out / "disagreements.jsonl", differing)
        summary["agreement"] = {"responses": judged, "agree": judged - len(differing)}
    _report(options, out, graded, others, summary, {})
    if judged:
        print(
            f"agrees with the recorded verdicts on {judged - len(differing)} of {judged} responses",
            end="",
        )
        print(f"; the others are in {out / 'disagreements.jsonl'}" if differing else "")
    return 0


def _report(
    options: argparse.Namespace,
    out: Path,
    responses: Sequence[Response],
    others: Sequence[Response],
    summary: dict[str, Any],
    parameters: dict[str, Any],
) -> None:
    """summary.json, MLflow, and a table on the screen."""
    from red_mcore.evaluation import summary as summaries
    from red_mcore.tracking.provenance import versions

    file = out / "summary.json"
    try:
        before = disk.read_object(file) or {}
    except disk.Damaged as error:  # of what is in it, only the run in MLflow is not written anew
        print(f"warning: {error}: MLflow gets a new run", file=sys.stderr)
        before = {}
    summary |= {"versions": versions()}
    if others:
        compared = summaries.against(responses, others)
        summary["against"] = {"evaluation": str(options.against), "benchmarks": compared}
    disk.write_atomic(file, json.dumps(summary, indent=2) + "\n")
    if options.mlflow:
        texts = {
            key: value for key, value in summary.items() if isinstance(value, str | int | bool)
        }
        try:
            summary["mlflow_run"] = _log(
                options, out, responses, summary, texts | parameters, before.get("mlflow_run")
            )
            disk.write_atomic(file, json.dumps(summary, indent=2) + "\n")
        except (
            Exception
        ) as error:  # servers, networks and disks fail in many ways; the numbers are there
            print(
                f"warning: MLflow failed, see --tracking-uri and --no-mlflow: {error}",
                file=sys.stderr,
            )
    _print(summary)
    print(file)


def _log(
    options: argparse.Namespace,
    out: Path,
    responses: Sequence[Response],
    summary: dict[str, Any],
    parameters: dict[str, Any],
    run_id: str | None,
) -> str:
    """To MLflow: parameters, metrics and tables; the run's id."""
    from red_mcore.evaluation import summary as summaries
    from red_mcore.tracking.mlflow_run import MlflowRun

    tracking = Tracking(uri=options.tracking_uri, experiment="evaluations")
    shared = out.absolute().parent if options.out else Path("runs")  # where training runs are, too
    run = MlflowRun(tracking, out.name, parameters, out, shared, run_id)
    run.metrics(0, summaries.metrics(summary))
    run.table(
        "benchmarks",
        [{"benchmark": name, **_plain(n)} for name, n in summary["benchmarks"].items()],
    )
    first = [response for response in responses if response.sample == 0]
    run.table("responses", [shown(response) for response in first[:SHOWN_RESPONSES]])
    run.close("FINISHED")
    return run.run_id


def _reward(options: argparse.Namespace) -> Reward:
    if options.verdict is not None:
        functions.check_path("--verdict", options.verdict)
    return Reward(workers=options.workers, timeout_seconds=options.timeout, verdict=options.verdict)


def _check_numbers(options: argparse.Namespace) -> None:
    for name in ("limit", "kv_cache_mib", "workers", "timeout", "ranks", "tensor"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise RecipeError(f"--{name.replace('_', '-')} {value}: use 1 or more")


def _model_name(model: Path) -> str:
    """RUN/checkpoints/TAG and RUN/export are named with their run."""
    path = model.resolve()
    if path.parent.name == "checkpoints":
        return f"{path.parent.parent.name}-{path.name}"
    return f"{path.parent.name}-{path.name}" if path.name in ("export", "base") else path.name


def _plain(numbers: dict[str, Any]) -> dict[str, Any]:
    """Without mappings: ``pass`` and its like become ``pass.1`` and so on."""
    out: dict[str, Any] = {}
    for key, value in numbers.items():
        out |= (
            {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
        )
    return out


def _print(summary: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    headers = (
        "benchmark",
        "problems",
        "mean",
        "pass@k",
        "majority",
        "tokens",
        "truncated",
        "not judged",
    )
    table = Table(*(Column(name, no_wrap=True) for name in headers), box=box.SIMPLE_HEAD)
    for name, n in summary["benchmarks"].items():
        judged = sum(n["verdicts"][verdict] for verdict in ("correct", "wrong"))
        k, best = list(n["pass"].items())[-1]
        table.add_row(
            name,
            f"{n['items']} x {n['samples']}",
            _percent(n["mean"], n["stderr"]),
            f"{100 * best:.1f} (k={k})",
            f"{100 * n['majority']:.1f}",
            "" if n["length_tokens"] is None else f"{n['length_tokens']:.0f}",
            "" if n["truncated"] is None else f"{100 * n['truncated']:.1f} %",
            str(sum(n["verdicts"].values()) - judged),
        )
    if len(summary["benchmarks"]) > 1:
        table.add_row("average", "", _percent(**summary["average"]))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    for name, n in summary["benchmarks"].items():
        limit = "the protocol's max_tokens"
        if wrong := symptoms.of_answers(f"answers to {name}", n["verdicts"], n["truncated"], limit):
            print(f"warning: {wrong[1]}: {symptoms.REMEDIES[wrong[0]]}")
    for name, found in summary.get("against", {}).get("benchmarks", {}).items():
        low, high = 100 * found["low"], 100 * found["high"]
        print(
            f"{name}: {100 * found['difference']:+.1f} against {summary['against']['evaluation']}",
            end="",
        )
        print(f", 95 % interval {low:+.1f} to {high:+.1f} (paired bootstrap over problems)")


def _percent(mean: float, stderr: float | None) -> str:
    return f"{100 * mean:.1f}" if stderr is None else f"{100 * mean:.1f} ± {100 * stderr:.1f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evaluate",
        usage="python tools/evaluate.py (--model DIR --benchmarks A,B | --generations FILE.jsonl) [options] [a=b ...]",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__,
        epilog=f"benchmarks: {', '.join(benchmarks.KNOWN)}, or any NAME.jsonl in --data",
    )
    parser.add_argument(
        "overrides", metavar="a=b", nargs="*", help="change a field of the protocol"
    )
    parser.add_argument("--model", type=Path, metavar="DIR")
    parser.add_argument("--benchmarks", metavar="A,B")
    parser.add_argument("--data", metavar="DIR", help="folder of the benchmarks' files")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N problems of each")
    parser.add_argument(
        "--protocol",
        default="default",
        metavar="NAME",
        help=f"{', '.join(protocols.NAMES)} (default)",
    )
    parser.add_argument(
        "--samples", type=int, metavar="K", help="responses per problem, of every benchmark"
    )
    parser.add_argument("--generations", type=Path, metavar="FILE", help="grade recorded responses")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the results")
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="results of another evaluation, to compare with"
    )
    parser.add_argument(
        "--chat-template", metavar="FILE", help="jinja template in the place of the model's"
    )
    parser.add_argument(
        "--ranks", type=int, default=1, metavar="N", help="processes, one per GPU (1)"
    )
    parser.add_argument(
        "--tensor", type=int, default=1, metavar="N", help="tensor-parallel size of an engine (1)"
    )
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="of the engine; as stored if not given"
    )
    parser.add_argument(
        "--kv-cache-mib",
        type=int,
        metavar="N",
        help="cache of an engine's rank; by default what fits",
    )
    parser.add_argument(
        "--verdict", metavar="MODULE:FUNCTION", help="judges in the place of math-verify"
    )
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="verifier processes per engine (2)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=Reward().timeout_seconds,
        metavar="S",
        help="seconds of one verdict",
    )
    parser.add_argument("--no-mlflow", dest="mlflow", action="store_false")
    parser.add_argument(
        "--tracking-uri", metavar="URI", help="MLflow server; mlruns.db beside --out if not given"
    )
    return parser
