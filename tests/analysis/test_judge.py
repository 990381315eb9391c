"""The judge's client, against a small server on this machine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from red_mcore.analysis import judge as judging
from red_mcore.analysis.findings import find_behaviours
from red_mcore.analysis.judge import Judge, judge_all, read_reply
from red_mcore.config.recipe import RecipeError
from red_mcore.samples.responses import Response

GOOD = '{"multi_perspective": 2, "metacognitive": 0}'


class Server(ThreadingHTTPServer):
    """Answers a response's text with what ``replies`` has for it, one after the other; a number is
    a status."""

    def __init__(self, replies: dict[str, list]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies, self.asked, self.busy, self.most = replies, [], 0, 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][0]["content"].split("<response>\n")[1].split("\n</response>")[0]
        with self.server.lock:
            self.server.asked.append((self.path, self.headers["Authorization"], body))
            self.server.busy += 1
            self.server.most = max(self.server.most, self.server.busy)
            reply = self.server.replies[text].pop(0)
        status = reply if isinstance(reply, int) else 200
        message = {"role": "assistant", "content": reply}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        answer = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": "judge",
            "choices": choices,
        }
        content = json.dumps(
            answer if status == 200 else {"error": {"message": "no such thing"}}
        ).encode()
        with self.server.lock:
            self.server.busy -= 1
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def serve():
    started = []

    def serve(**replies: list) -> Server:
        server = Server(replies)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        started.append(server)
        return server

    yield serve
    for server in started:
        server.shutdown()
        server.server_close()


def response(text: str, item: int = 0, verdict: str = "correct") -> Response:
    return Response("B", item, 0, "1 {+} 1?", text, verdict, None, None, None, None)


def test_counts_are_read_kept_and_not_asked_for_twice(serve, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server = serve(
        a=[GOOD], b=["I see.", "Sorry: " + GOOD.replace("0", "3")], c=["nothing"] * 3, d=[400]
    )
    judge = Judge(server.url, "judge", parallel=2)
    responses = [
        response(text, i, "correct" if text in "ad" else "wrong") for i, text in enumerate("abcd")
    ]
    steps = []
    found = judge_all(
        judge, responses, tmp_path / "j.jsonl", watch=lambda *step: steps.append(step)
    )
    first, second = (
        {"multi_perspective": 2, "metacognitive": 0},
        {"multi_perspective": 2, "metacognitive": 3},
    )
    assert found.counts == [first, second, None, None]
    assert found.failures == {"3 replies without the counts": 1, "status 400": 1}
    assert (steps[0], steps[-1]) == ((0, 4), (4, 4))
    assert server.most <= 2
    path, key, body = server.asked[0]
    assert (path, key, body["model"], body["temperature"]) == (
        "/v1/chat/completions",
        "Bearer none",
        "judge",
        0,
    )
    assert "1 {+} 1?" in body["messages"][0]["content"]
    retried = [body["messages"] for _, _, body in server.asked if len(body["messages"]) > 1]
    assert [message["role"] for message in retried[0]] == ["user", "assistant", "user"]

    # A kill tore the last line; failures are tried again, the rest is not.
    with (tmp_path / "j.jsonl").open("a") as file:
        file.write('{"key": "torn')
    server.replies |= {"c": [GOOD], "d": [GOOD]}
    again = judge_all(judge, responses, tmp_path / "j.jsonl")
    assert again.counts == [first, second, first, first]
    assert not again.failures
    assert len(server.asked) == 9
    behaviours = find_behaviours(responses, found)
    assert behaviours.judged == 2
    assert behaviours.per_response["all"]["metacognitive"].mean == 1.5
    assert behaviours.per_response["incorrect"]["metacognitive"].n == 1  # the failure is no zero


def test_the_key_comes_from_the_environment(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "abc")
    server = serve(a=[GOOD])
    judge_all(Judge(server.url, "judge"), [response("a")], tmp_path / "j.jsonl")
    assert server.asked[0][1] == "Bearer abc"


@pytest.mark.parametrize("status", [401, 404])
def test_what_would_fail_for_all_is_refused(serve, tmp_path, status):
    server = serve(a=[status])
    with pytest.raises(
        RecipeError, match=r"no such thing.*: check the address, --judge-model and OPENAI_API_KEY"
    ):
        judge_all(Judge(server.url, "judge"), [response("a")], tmp_path / "j.jsonl")


def test_an_address_without_a_server_is_refused(tmp_path, monkeypatch):
    import openai

    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.01)
    with pytest.raises(RecipeError, match=r"--judge-url http://127.0.0.1:9/v1 cannot be reached"):
        judge_all(Judge("http://127.0.0.1:9/v1", "judge"), [response("a")], tmp_path / "j.jsonl")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, (2, 0)),
        ("```json\n" + GOOD + "\n```", (2, 0)),
        ('{"multi_perspective": 9, "metacognitive": 9} no: ' + GOOD, (2, 0)),
        ('{"multi_perspective": 2}', None),
        ('{"multi_perspective": 2.5, "metacognitive": 0}', None),
        ('{"multi_perspective": true, "metacognitive": 0}', None),
        ('{"multi_perspective": -1, "metacognitive": 0}', None),
        ("{2, 0}", None),
        ("", None),
    ],
)
def test_replies(text, expected):
    found = read_reply(text)
    assert found == (expected and dict(zip(judging.BEHAVIOURS, expected, strict=True)))
