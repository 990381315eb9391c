"""An address: what is sent, what comes of each kind of answer, and what nobody gets to see.

The server is a small one of this process; a real one is in test_distilling.py.
"""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import tenacity

from red_mcore.config.recipe import RecipeError
from red_mcore.data.schema import Entry
from red_mcore.distillation import address
from red_mcore.distillation.address import Address
from red_mcore.distillation.settings import Limits, Sampling
from red_mcore.distillation.teacher import Request, Task
from red_mcore.samples.records import Problem

KEY = "sk-very-secret"


class Listed:
    """Work that is a list of requests."""

    def __init__(self, count=1):
        tasks = [Task(Entry(str(i), f"{i}?", "7"), Problem(i, f"{i}?", "7")) for i in range(count)]
        self.left = [Request(task, 0, seed=100 + i) for i, task in enumerate(tasks)]
        self.answers, self.refusals, self.errors = {}, [], []
        self.lock = threading.Lock()

    def take(self, wait=True):
        with self.lock:
            return self.left.pop(0) if self.left and not self.errors else None

    def tell(self, request, answer):
        self.answers[request.task.entry.id] = answer

    def refuse(self, request, reason):
        self.refusals.append(reason)

    def give_up(self, error):
        self.errors.append(error)

    @property
    def is_over(self):
        return bool(self.errors)


def said(content="so \\boxed{7}", finish="stop", **message):
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": content, **message},
            }
        ],
        "usage": {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33},
    }


class Server:
    """Answers requests with ``replies`` in turn, the last one for ever: (status, body, headers),
    or None to hang up."""

    def __init__(self, replies, models=("m",)):
        self.replies, self.models = list(replies), models
        self.asked, self.headers, self.most = [], [], 0
        self.underway, self.lock = 0, threading.Lock()

    def next(self):
        with self.lock:
            return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@contextmanager
def serving(*replies, **options):
    server = Server(replies, **options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_GET(self):
            models = [
                {"id": name, "object": "model", "max_model_len": 500} for name in server.models
            ]
            self.reply(200, {"object": "list", "data": models}, {})

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with server.lock:
                server.asked.append(json.loads(body))
                server.headers.append({k.lower(): v for k, v in self.headers.items()})
                server.underway += 1
                server.most = max(server.most, server.underway)
            reply = server.next()
            with server.lock:
                server.underway -= 1
            if reply is None:
                self.close_connection = True
            else:
                self.reply(*reply)

        def reply(self, status, body, headers):
            text = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(address, "_random_wait", tenacity.wait_none())
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def ask(server, work=None, sampling=None, limits=None, say=lambda line: None, **options):
    work = work or Listed()
    sampling = sampling or Sampling(max_tokens=60)
    teacher = Address(
        server.url, None, sampling, limits or Limits(concurrency=1), say=say, **options
    )
    teacher.work(work)
    teacher.close()
    return work


def error(message, code=None):
    return {"error": {"message": message, "type": "t", "code": code}}


def test_what_is_sent():
    sampling = Sampling(
        temperature=0.6,
        top_p=0.9,
        max_tokens=60,
        system_prompt="Think.",
        suffix="Box it.",
        template_arguments={"enable_thinking": True},
        banned=("wait", "hmm"),
        extra={"top_k": 20},
    )
    with serving((200, said(), {})) as server:
        work = ask(server, sampling=sampling)
        ask(server, limit_field="max_completion_tokens")
    assert server.asked[0] == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Think."},
            {"role": "user", "content": "0?\nBox it."},
        ],
        "temperature": 0.6,
        "top_p": 0.9,
        "max_tokens": 60,
        "seed": 100,
        "bad_words": ["wait", "hmm"],
        "chat_template_kwargs": {"enable_thinking": True},
        "top_k": 20,
    }
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert server.asked[1] == {
        "model": "m",
        "messages": [{"role": "user", "content": "0?"}],
        "temperature": 1.0,
        "max_completion_tokens": 60,
        "seed": 100,
    }
    (answer,) = work.answers.values()
    assert answer[:4] == ("so \\boxed{7}", 22, 11, "stop")


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (said("4", reasoning_content="hm"), "<think>\nhm\n</think>\n\n4"),
        (said("4", reasoning="hm"), "<think>\nhm\n</think>\n\n4"),
        (said(None, "length", reasoning_content="hm, cut"), "<think>\nhm, cut"),
        (said("hm\n</think>\n4"), "<think>\nhm\n</think>\n4"),
        (said(None), ""),
    ],
)
def test_reasoning_is_part_of_the_trace(reply, text):
    with serving((200, reply, {})) as server:
        (answer,) = ask(server).answers.values()
    assert answer.text == text


def test_what_may_pass_is_tried_again():
    busy = [(status, error("busy"), {"Retry-After": "0"}) for status in (429, 500, 502, 503, 408)]
    odd = [None, (200, said(finish="abort"), {}), (200, "<html>", {}), (200, {"choices": []}, {})]
    told = []
    with serving(*busy, *odd, (200, said(), {})) as server:
        work = ask(server, say=told.append)
    assert len(work.answers) == 1
    assert len(server.asked) == 10
    assert len({json.dumps(asked) for asked in server.asked}) == 1  # the seed, too
    assert len(told) == 1  # not once for each
    assert told[0].startswith(f"{server.url}/v1: Error code: 429")


def test_patience_ends():
    with serving((503, error("busy"), {})) as server:
        work = ask(server, limits=Limits(concurrency=1, patience_seconds=0.05))
    assert "busy" in str(work.errors[0])
    assert "run the command again" in str(work.errors[0])


@pytest.mark.parametrize("status", [400, 422])
def test_a_request_that_is_refused_is_no_failure_of_the_others(status):
    with serving((status, error("too long"), {}), (200, said(), {})) as server:
        work = ask(server, Listed(3))
    assert work.answers.keys() == {"1", "2"}
    assert "too long" in work.refusals[0]


@pytest.mark.parametrize(
    ("status", "body", "fix"),
    [
        (401, error(f"bad key {KEY}"), "the key in the environment variable OPENAI_API_KEY is not"),
        (403, error("no"), "the key in the environment variable OPENAI_API_KEY is not accepted"),
        (404, error("no such model"), "check the address"),
        (402, error("no money"), "mend that, then run the command again"),
        (429, error("no money", "insufficient_quota"), "run the command again"),
    ],
)
def test_what_will_not_pass_ends_it_in_one_line_without_the_key(status, body, fix):
    with serving((status, body, {})) as server:
        work = ask(server, Listed(3))
    assert len(server.asked) == 1
    assert fix in str(work.errors[0])
    assert KEY not in str(work.errors[0])
    assert "\n" not in str(work.errors[0])


def test_so_many_at_once_and_no_more():
    with serving((200, said(), {})) as server:
        work = ask(server, Listed(40), limits=Limits(concurrency=4))
    assert len(work.answers) == 40
    assert server.most <= 4


def test_a_limit_per_minute_counts_every_try():
    waits = []
    with serving((429, error("busy"), {}), (200, said(), {})) as server:
        teacher = Address(server.url, None, Sampling(max_tokens=60), Limits(concurrency=1))
        teacher._requests._sleep = teacher._tokens._sleep = waits.append
        teacher._requests._each = 2.0
        teacher._tokens._each = 0.1
        work = Listed(2)
        teacher.work(work)
    requests = [wait for wait in waits if wait > 1.5]
    assert len(server.asked) == 3
    assert len(requests) >= 2
    assert len(work.answers) == 2


@pytest.mark.parametrize(
    ("models", "name", "limit", "message"),
    [
        (("a", "b"), None, 60, "--model: http.* has several or none: use one of a, b"),
        (("a",), "b", 60, "--model b is not at http.*: use one of a"),
        (("a",), None, 500, "--max-tokens 500 leaves no room for a prompt: a at .* takes 500"),
    ],
)
def test_the_model_is_looked_for_before_anything_is_asked(models, name, limit, message):
    with (
        serving((200, said(), {}), models=models) as server,
        pytest.raises(RecipeError, match=message),
    ):
        Address(server.url, name, Sampling(max_tokens=limit), Limits())


def test_an_address_where_nobody_is_and_its_secrets(monkeypatch):
    with serving((200, said(), {})) as server:
        url = server.url
    with pytest.raises(RecipeError, match="see that the server runs and is reached") as caught:
        Address(url.replace("//", "//me:hidden-word@"), None, Sampling(), Limits())
    assert "hidden-word" not in str(caught.value)
    assert KEY not in str(caught.value)
