"""How weights that are not a network's are told."""

from avs_cli.core.weights import Misfit, misfits


def test_weights_fit_a_network_of_the_same_names_and_shapes_in_any_order() -> None:
    assert misfits({"a": (2, 3), "b": ()}, {"b": (), "a": (2, 3)}) == []


def test_tensors_without_a_counterpart_are_told_before_those_of_other_shapes() -> None:
    own = {"a.shape": (2, 3), "lacking": (4,), "sound": (1,)}
    given = {"sound": (1,), "unknown": (), "a.shape": (3, 2)}
    assert misfits(own, given) == [
        Misfit("lacking", (4,), None),
        Misfit("unknown", None, ()),
        Misfit("a.shape", (2, 3), (3, 2)),
    ]
