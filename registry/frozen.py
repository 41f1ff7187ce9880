"""`dataclass`, for values that never change, at a fraction of its price at import: all is made when it is needed.

The standard decorator looks at every field and compiles six methods for each class when its module is imported, and
its own module imports what reads source text. A command imports a hundred such classes, and makes values of ten.
Here a class with `frozen=True, slots=True` gets its slots at once, and `__init__`, `__eq__` and `__hash__` when one
of these is called first. `field` and `replace` are for such classes, and as the standard library's. That has its
say once somebody asks a class for its fields, so what it has for them works as ever. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from dataclasses import MISSING, dataclass, field, fields, replace
else:
    MISSING = type("MISSING", (), {"__repr__": lambda _: "MISSING"})()

    def dataclass(*, frozen: bool = False, slots: bool = False, kw_only: bool = False) -> Any:  # noqa: ANN401
        """As `dataclasses.dataclass`."""
        if frozen and slots:
            return lambda plain: _made(plain, kw_only=kw_only)

        def standard(plain: Any) -> Any:  # noqa: ANN401 - any class
            import dataclasses  # noqa: PLC0415 - see above

            for name, item in list(vars(plain).items()):
                if isinstance(item, _Field):
                    setattr(plain, name, item.standard())
            return dataclasses.dataclass(frozen=frozen, slots=slots, kw_only=kw_only)(plain)

        return standard

    def field(**options: Any) -> Any:  # noqa: ANN401 - as it is given
        """As `dataclasses.field`."""
        return _Field(options)

    def fields(of: Any) -> tuple[Any, ...]:  # noqa: ANN401 - any value or class
        """As `dataclasses.fields`, without the types."""
        cls = of if isinstance(of, type) else type(of)
        found = {each.name: each for base in reversed(cls.__mro__) for each in vars(base).get("__frozen__", ())}
        return tuple(found.values())

    def replace(value: Any, **changes: Any) -> Any:  # noqa: ANN401 - any value
        """As `dataclasses.replace`."""
        for each in fields(value):
            changes.setdefault(each.name, getattr(value, each.name))
        return type(value)(**changes)


__all__ = ["MISSING", "dataclass", "field", "fields", "replace"]

COMPILED = ("__init__", "__eq__", "__hash__")


class _Field:
    """What `field` was told."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    def standard(self) -> Any:  # noqa: ANN401 - the standard library's
        import dataclasses  # noqa: PLC0415 - see above

        return dataclasses.field(**self.options)


class _FrozenField(NamedTuple):
    """A field of a class."""

    name: str
    default: Any = MISSING
    default_factory: Any = MISSING
    kw_only: bool = False
    compare: bool = True
    repr: bool = True
    metadata: Any = None

    @classmethod
    def of(cls, name: str, item: Any, *, kw_only: bool) -> _FrozenField:  # noqa: ANN401 - what the class has under the name
        """From what stands in the class."""
        options = item.options if isinstance(item, _Field) else {"default": item}
        if type(item).__module__ == "dataclasses":  # the standard library's own field
            options = {each: getattr(item, each) for each in cls._fields[1:]}
            options = {each: given for each, given in options.items() if type(given).__name__ != "_MISSING_TYPE"}
        return cls(name, **{"kw_only": kw_only, **options})


def _made(plain: Any, *, kw_only: bool) -> Any:  # noqa: ANN401 - any class
    """The class with slots for its fields; all else makes itself."""
    own = {name: item for name, item in vars(plain).items() if name not in ("__dict__", "__weakref__")}
    names = [name for name, kind in own.get("__annotations__", {}).items() if not kind.startswith("ClassVar")]
    inherited = {name for base in plain.__mro__[1:] for name in vars(base).get("__slots__", ())}
    attributes = {name: item for name, item in own.items() if name not in names}
    attributes["__slots__"] = tuple(name for name in names if name not in inherited)
    attributes["__qualname__"] = plain.__qualname__
    attributes["__frozen__"] = tuple(
        _FrozenField.of(name, own.get(name, MISSING), kw_only=kw_only) for name in names
    )
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
        import dataclasses  # noqa: PLC0415 - see above

        own = {name: item.standard() if isinstance(item, _Field) else item for name, item in self._own.items()}
        plain = type(owner)(owner.__name__, owner.__bases__, own)
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
    found = fields(cls)
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
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _refuse(_self: object, name: str, _item: object) -> None:
    from dataclasses import FrozenInstanceError  # noqa: PLC0415 - see above

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deletion(_self: object, name: str) -> None:
    from dataclasses import FrozenInstanceError  # noqa: PLC0415 - see above

    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:  # noqa: ANN401 - any value
    return [getattr(self, each.name) for each in fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:  # noqa: ANN401 - any value
    for each, item in zip(fields(self), state, strict=True):
        object.__setattr__(self, each.name, item)


SHARED = {
    "__repr__": _repr,
    "__setattr__": _refuse,
    "__delattr__": _refuse_deletion,
    "__getstate__": _state,
    "__setstate__": _set_state,
}
