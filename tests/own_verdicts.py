"""Verdicts as a user's own, in a module that imports nothing: the verifier's children import it."""


def ends_in_the_unit(response, gold, unit):
    if unit == "never":
        raise ValueError(unit)
    return response.endswith(unit)


def is_the_unit(gold, response, tokens, unit=None):
    """What ends in the row's unit is right."""
    if response.endswith("4}"):
        raise ValueError(response)
    return response.endswith(f"{unit}}}")
