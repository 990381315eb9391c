"""What follows a run beside MLflow: event files of TensorBoard, and monitors of the user's own."""

import json
import math
import struct
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from red_mcore.config.loading import load
from red_mcore.config.recipe import Algorithm, Model, Recipe, RecipeError, Tracking
from red_mcore.planning.checks import validate
from red_mcore.tracking import Tracker, monitor, outlet, tensorboard
from red_mcore.tracking.json_files import JsonFiles
from red_mcore.tracking.mlflow_run import MlflowRun

RECIPES = Path(__file__).parents[2] / "recipes"
TENSORBOARD = "red_mcore.tracking.tensorboard:TensorBoard"
FIELDS = {
    "Event": [
        "wall_time 1 double",
        "step 2 int64",
        "file_version 3 string",
        "summary 5 Summary",
        "log 7 SessionLog",
    ],
    "SessionLog": ["status 1 int32"],
    "Summary": ["value 1 Value*"],
    "Value": ["tag 1 string", "simple_value 2 float", "tensor 8 Tensor", "metadata 9 Metadata"],
    "Metadata": ["plugin_data 1 PluginData"],
    "PluginData": ["plugin_name 1 string"],
    "Tensor": ["dtype 1 int32", "tensor_shape 2 Shape", "string_val 8 bytes*"],
    "Shape": ["dim 2 Dim*"],
    "Dim": ["size 1 int64"],
}
"""Of TensorBoard's event.proto and what it imports: what is written."""


def event_class():
    """``Event`` as the protobuf library reads it."""
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind in map(str.split, fields):
            repeated = kind.endswith("*")
            kind = kind.rstrip("*")
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            added = message.field.add(name=field, number=int(number), label=label)
            if kind in FIELDS:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".{kind}"
            else:
                added.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Event"))


def crc32c(content: bytes) -> int:
    """Bit by bit, as the polynomial says."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 * (crc & 1))
    return crc ^ 0xFFFFFFFF


def events(file: Path) -> list:
    """The events of a file, whose checksums hold; all fields are known."""
    content, found, event = file.read_bytes(), [], event_class()

    def check(part: bytes, stored: bytes) -> None:
        crc = crc32c(part)
        assert struct.unpack("<I", stored)[0] == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32

    while content:
        (length,) = struct.unpack("<Q", content[:8])
        check(content[:8], content[8:12])
        check(content[12 : 12 + length], content[12 + length : 16 + length])
        found.append(event.FromString(content[12 : 12 + length]))
        assert found[-1].SerializeToString() == content[12 : 12 + length]
        content = content[16 + length :]
    return found


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """The curves of a folder's files as TensorBoard joins them: a start voids later steps."""
    curves: dict[str, dict[int, float]] = {}
    for file in sorted(folder.iterdir()):
        first, *rest = events(file)
        assert first.file_version == "brain.Event:2"
        for event in rest:
            if event.log.status == 1:
                for curve in curves.values():
                    for step in [step for step in curve if step >= event.step]:
                        del curve[step]
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    curves.setdefault(value.tag, {})[event.step] = value.simple_value
    return curves


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    tracking = Tracking(mlflow=False, monitors=[TENSORBOARD])
    return Recipe(
        name="small", runs=str(tmp_path), model=Model(), algorithm=Algorithm(), tracking=tracking
    )


def test_checksums_are_castagnoli_s():
    assert crc32c(b"123456789") == 0xE3069283  # of RFC 3720
    (masked,) = struct.unpack("<I", tensorboard._masked_crc(b"123456789"))
    assert masked == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) % 2**32


def test_tensorboard_gets_what_a_run_tells_and_forgets_what_a_resumed_one_repeats(recipe):
    first = Tracker(recipe, recipe.folder)
    assert first.begin({"main": -1, "base": 0}) == []
    first.log(300, {"base/loss": 3.0}, "base")
    for step in range(4):
        first.log(step, {"update/loss": 1.0 / (step + 1), "update/lr": math.nan})
    first.table("evaluation", [{"problem": "1 + 1 = ?", "response": "2 ≈ 2"}], step=0)
    kept = first.rows()
    first.close("KILLED")

    again = Tracker(recipe, recipe.folder)
    kept["metrics.jsonl"] = "".join(kept["metrics.jsonl"].splitlines(keepends=True)[:3])
    assert again.begin({"main": 2}, kept) == []
    again.log(3, {"update/loss": 7.0})
    again.summary({"steps": 3, "accuracy_after": 0.5})
    again.close("FINISHED")

    folder = recipe.folder / "tensorboard"
    assert scalars(folder / "base") == {"base/loss": {300: 3.0}}
    found = scalars(folder / "main")
    assert found["update/loss"] == {0: 1.0, 1: 0.5, 2: pytest.approx(1 / 3), 3: 7.0}
    assert sorted(found["update/lr"]) == [0, 1, 2]
    texts = {}
    for file in sorted((folder / "main").iterdir()):
        for event in events(file):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "text":
                    assert (value.tensor.dtype, value.tensor.tensor_shape.dim[0].size) == (7, 1)
                    texts[value.tag] = value.tensor.string_val[0].decode()
    assert "    optimizer.lr: " in texts["settings"]
    assert texts["rollouts/evaluation/000"] == '    problem: "1 + 1 = ?"\n    response: "2 ≈ 2"'
    assert "    accuracy_after: 0.5" in texts["summary"]


def test_a_monitor_that_joins_later_gets_the_earlier_rows(recipe):
    recipe.tracking.monitors = []
    first = Tracker(recipe, recipe.folder)
    first.begin({"main": -1, "base": 0})
    first.log(20, {"base/loss": 3.0}, "base")
    first.log(0, {"update/loss": 1.0})
    kept = first.rows()
    first.close("KILLED")
    recipe.tracking.monitors = [TENSORBOARD]
    again = Tracker(recipe, recipe.folder)
    assert again.begin({"main": 0}, kept) == []
    again.log(1, {"update/loss": 0.5})
    again.close("FINISHED")
    assert scalars(recipe.folder / "tensorboard/main") == {"update/loss": {0: 1.0, 1: 0.5}}
    assert scalars(recipe.folder / "tensorboard/base") == {"base/loss": {20: 3.0}}


OWN = """
class Own:
    def __init__(self, name, settings, folder):
        self.file, self.failures = folder / "own.txt", {failures}

    def write(self, *what):
        with self.file.open("a") as file:
            print(*what, file=file)

    def begin(self, steps, earlier):
        self.write("begin", steps, earlier)

    def metrics(self, step, values, stage="main"):
        self.failures -= 1
        if self.failures >= 0:
            raise OSError("no connection")
        self.write("metrics", step, values, stage)

    def table(self, name, rows, step):
        self.write("table", name, rows, step)

    def summary(self, values):
        self.write("summary", values)

    def close(self, status):
        self.write("close", status)
"""


def test_a_monitor_of_the_user_s_own_that_fails_for_a_while_lacks_nothing(
    recipe, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(outlet, "_PAUSE", 0.0)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_monitor.py").write_text(OWN.format(failures=2))
    recipe.tracking.monitors = ["own_monitor:Own"]
    tracker = Tracker(recipe, recipe.folder)
    tracker.begin({"main": -1})
    tracker.log(0, {"update/loss": 1.0})
    tracker.log(1, {"update/loss": 0.5})
    tracker.summary({"steps": 1})
    tracker.close("FINISHED")
    assert capsys.readouterr().err.count("warning: own_monitor:Own failed (no connection)") == 1
    assert (recipe.folder / "own.txt").read_text().splitlines() == [
        "begin {'main': -1} {'main': [], 'base': []}",
        "metrics 0 {'update/loss': 1.0} main",
        "metrics 1 {'update/loss': 0.5} main",
        "summary {'steps': 1}",
        "close FINISHED",
    ]
    assert len(json.loads((recipe.folder / "summary.json").read_text())) == 1


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("own", "'own' is no import path: write package.module:Class"),
        ("no_such_module:Own", "no module 'no_such_module' for 'no_such_module:Own'"),
        (
            "red_mcore.tracking.rows:Rows",
            "'red_mcore.tracking.rows:Rows' has no begin, metrics, table, summary, close",
        ),
    ],
)
def test_what_is_no_monitor_is_refused_before_anything_starts(path, message):
    recipe = load(RECIPES / "tiny/grpo.py", [f"tracking.monitors=[{path}]"])
    with pytest.raises(RecipeError, match=r"tracking\.monitors: " + message):
        validate(recipe)


def test_one_that_does_not_start_is_told_by_its_name(recipe, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_monitor.py").write_text(OWN.format(failures="1 / 0"))
    recipe.tracking.monitors = ["broken_monitor:Own"]
    with pytest.raises(
        RecipeError, match=r"'broken_monitor:Own' does not start .*: mend it or leave it out"
    ):
        Tracker(recipe, recipe.folder)


def test_mlflow_and_tensorboard_keep_the_contract():
    for kept in (MlflowRun, tensorboard.TensorBoard):
        assert issubclass(kept, monitor.Monitor)
    assert not issubclass(JsonFiles, monitor.Monitor)  # the truth, which the tracker itself writes
