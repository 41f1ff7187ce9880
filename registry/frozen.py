"""`dataclass`, for values that never change, at a fraction of its price at import: all is made when it is needed.

The standard decorator looks at every field and compiles six methods for each class when its module is imported. A
command imports a hundred such classes, and makes values of ten. Here a class with `frozen=True, slots=True` gets
its slots at once, its fields when somebody asks for them, and `__init__`, `__eq__` and `__hash__` when one of these
is called first. The fields are the standard library's own, so `fields`, `replace` and patterns work as ever. Pure.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, FrozenInstanceError
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool = False, slots: bool = False, kw_only: bool = False) -> Any:  # noqa: ANN401
        """As `dataclasses.dataclass`."""
        if not (frozen and slots):
            return dataclasses.dataclass(frozen=frozen, slots=slots, kw_only=kw_only)
        return lambda plain: _made(plain, kw_only=kw_only)


__all__ = ["dataclass"]

COMPILED = ("__init__", "__eq__", "__hash__")


def _made(plain: Any, *, kw_only: bool) -> Any:  # noqa: ANN401 - any class
    """The class with slots for its fields; all else makes itself."""
    own = {name: item for name, item in vars(plain).items() if name not in ("__dict__", "__weakref__")}
    names = [name for name, kind in own.get("__annotations__", {}).items() if not kind.startswith("ClassVar")]
    inherited = {name for base in plain.__mro__[1:] for name in vars(base).get("__slots__", ())}
    attributes = {name: item for name, item in own.items() if name not in names}
    attributes["__slots__"] = tuple(name for name in names if name not in inherited)
    attributes["__qualname__"] = plain.__qualname__
    cls = type(plain)(plain.__name__, plain.__bases__, attributes)
    for name in ("__dataclass_fields__", "__dataclass_params__", "__match_args__"):
        setattr(cls, name, _LateAttribute(name, own, kw_only))
    for name, method in SHARED.items():
        if name not in own:
            setattr(cls, name, method)
    for name in COMPILED:
        if own.get(name) is None:
            setattr(cls, name, _compiled_later(cls, name))
    return cls


class _LateAttribute:
    """What the standard decorator finds in a class, once somebody asks the class for it."""

    def __init__(self, name: str, own: dict[str, Any], kw_only: bool) -> None:  # noqa: FBT001 - as it is given
        self._name, self._own, self._kw_only = name, own, kw_only

    def __get__(self, _value: object, asked: type) -> Any:  # noqa: ANN401 - any of them
        owner = next(each for each in asked.__mro__ if vars(each).get(self._name) is self)
        plain = type(owner)(owner.__name__, owner.__bases__, dict(self._own))
        find = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=self._kw_only)
        found = vars(find(plain))
        for name in ("__dataclass_fields__", "__dataclass_params__", "__match_args__"):
            setattr(owner, name, found[name])
        return found[self._name]


def _compiled_later(cls: Any, name: str) -> Any:  # noqa: ANN401 - any class and method
    def first(*values: Any, **named: Any) -> Any:  # noqa: ANN401 - any method
        made = _compile(cls)
        for each, method in made.items():
            if getattr(vars(cls)[each], "compiled_later", False):
                setattr(cls, each, method)
        return made[name](*values, **named)

    first.compiled_later = True  # type: ignore[attr-defined]
    return first


def _compile(cls: Any) -> dict[str, Any]:  # noqa: ANN401 - any class
    """The methods that the fields of a class ask for, by name."""
    known: dict[str, Any] = {"MISSING": MISSING}
    placed, named, body = ["self"], ["*"], []
    found = dataclasses.fields(cls)
    for each in found:
        known[f"set_{each.name}"] = getattr(cls, each.name).__set__
        value, default = each.name, ""
        if each.default is not MISSING:
            known[f"default_{each.name}"] = each.default
            default = f"=default_{each.name}"
        elif each.default_factory is not MISSING:
            known[f"make_{each.name}"] = each.default_factory
            default, value = "=MISSING", f"make_{each.name}() if {each.name} is MISSING else {each.name}"
        (named if each.kw_only else placed).append(f"{each.name}{default}")
        body.append(f"    set_{each.name}(self, {value})")
    body += ["    self.__post_init__()"] if hasattr(cls, "__post_init__") else []
    ours, others = ("".join(f"{who}.{each.name}, " for each in found if each.compare) for who in ("self", "other"))
    source = [
        f"def __init__({', '.join(placed + (named if named[1:] else []))}):",
        *(body or ["    pass"]),
        "def __eq__(self, other):",
        "    if other.__class__ is not self.__class__: return NotImplemented",
        f"    return ({ours}) == ({others})",
        "def __hash__(self):",
        f"    return hash(({ours}))",
    ]
    exec("\n".join(source), known)  # noqa: S102 - made of the names of our own fields
    for name in COMPILED:
        known[name].__qualname__ = f"{cls.__qualname__}.{name}"
    return {name: known[name] for name in COMPILED}


def _repr(self: Any) -> str:  # noqa: ANN401 - any value
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _refuse(_self: object, name: str, _item: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deletion(_self: object, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:  # noqa: ANN401 - any value
    return [getattr(self, each.name) for each in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:  # noqa: ANN401 - any value
    for each, item in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, each.name, item)


SHARED = {
    "__repr__": _repr,
    "__setattr__": _refuse,
    "__delattr__": _refuse_deletion,
    "__getstate__": _state,
    "__setstate__": _set_state,
}
