"""A run's sizes on the command line: a flag for each field of a dataclass, whose default is the usual one."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import fields
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S", bound="DataclassInstance")


def add_flags(parser: ArgumentParser, sizes: type[S]) -> None:
    """Add `--name` for each field; one that ends in `_s` is in seconds, and its flag has no such end."""
    for each in fields(sizes):
        flag = f"--{each.name.removesuffix('_s')}"
        unit = "seconds, " if each.name.endswith("_s") else ""
        parser.add_argument(
            flag, dest=each.name, type=type(each.default), default=each.default, help=f"{unit}{each.default:g}"
        )


def read_flags(arguments: Namespace, sizes: type[S]) -> S:
    """Return the sizes that the command line asks for."""
    return sizes(**{each.name: getattr(arguments, each.name) for each in fields(sizes)})
