"""What kind of model of Transformers one is, and where it puts its logits."""

from typing import Any

from torch import Tensor, nn


def logits_in(outputs: Any) -> Tensor:
    """Return the logits of a model's outputs: by name, or the first entry of a tuple."""
    return outputs["logits"] if isinstance(outputs, dict) else outputs[0]


def predicts_next_token(model: nn.Module) -> bool:
    """Whether a model is a causal language model of Transformers, by its class."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    known = any(kind.__name__ in CAUSAL.values() for kind in type(model).__mro__)
    return known and not is_encoder_decoder(model)


def is_encoder_decoder(model: nn.Module) -> bool:
    """Whether a model makes its decoder's inputs of the labels."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def class_names(model: nn.Module | None) -> dict[int, str]:
    """Return the names of a classifier's classes by their index; none where it has only numbers.

    None, as of a teacher that a trainer keeps to itself, has none.
    """
    names = getattr(getattr(model, "config", None), "id2label", None) or {}
    known = {int(index): str(name) for index, name in names.items()}
    plain = all(name == f"LABEL_{index}" for index, name in known.items())
    return {} if plain else known


def check_class_names(student: nn.Module, teacher: nn.Module | None) -> None:
    """Raise a ValueError that names the first class which two models call otherwise.

    Case does not count, and models without names of their own fit any.
    """
    one, other = class_names(student), class_names(teacher)
    if not (one and other):
        return
    for index in sorted({*one, *other}):
        pair = one.get(index), other.get(index)
        if str(pair[0]).casefold() != str(pair[1]).casefold():
            where = [i for i, name in other.items() if name.casefold() == str(pair[0]).casefold()]
            place = f", whose class {where[0]} it is" if where else ""
            raise ValueError(
                f"class {index} is {pair[0]!r} to the student and {pair[1]!r} to the teacher"
                f"{place}: logits are compared by index, so the classes need one order (id2label "
                f"of both configs); where they are the same under other names, give both the same"
            )
