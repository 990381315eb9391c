"""920 traces of one teacher, as they come, right or wrong; then the same model may not re-check.

``distill_100.py``, ``distill_250.py`` and ``distill_500.py`` have the first of them alone:
``tools/compare.py recipes/tiny/distillation/distill_*.py --reference distill_920`` is the curve of
sizes. The last two stages of the chain sample the held-out problems with and without ``w``, the
mark of a re-check; their ``manifest.json`` have how many answers are right.
"""

from recipes.tiny.distillation import imitation
from red_mcore.recipe import Data, Recipe

TEACHERS = "red_mcore.data.arithmetic_teachers"


def recipe(count: int = 920) -> Recipe:
    r = imitation.recipe(f"distill_{count}")
    r.data = Data(
        path=f"{TEACHERS}:unscreened",
        # The one trace as it stands: by itself a step would not learn from a wrong one.
        trace_field="traces[0].text",
        problems=count,
        held_out=512,
        held_out_path=f"{TEACHERS}:held_out",
    )
    return r


def held_out(out: str, *more: str) -> list[str]:
    """The stage that samples the trained model on the held-out problems."""
    model = ["--teacher", "{out}/distill_920/export", "--data", f"{TEACHERS}:held_out"]
    return ["distill", *model, "--out", out, "--max-tokens", "80", "--temperature", "0.6", *more]


CHAIN = [
    imitation.BASE,
    ["run", "{recipe}", "name=distill_920", "runs={out}", f"model.path={imitation.STUDENT}"]
    + ["base=null"],
    held_out("{out}/free"),
    held_out("{out}/banned", "--ban", "w"),
]
