"""Expressions compiled late do what compiled ones do, and texts that skip one hold nothing that it finds."""

from __future__ import annotations

import sys

from registry.etcd.endpoint import base_url, parts_of
from registry.grammar import UNPRINTABLE
from registry.patterns import pattern


def test_it_is_compiled_at_the_first_question_and_kept() -> None:
    late = pattern("(?i)b+")
    assert "search" not in vars(late)
    found = late.search("aBb")
    assert found is not None
    assert found[0] == "Bb"
    assert vars(late)["search"] == late.search
    assert late.pattern == "(?i)b+"


def test_what_python_prints_holds_nothing_that_the_grammar_refuses() -> None:
    refused = [chr(code) for code in range(sys.maxunicode + 1) if UNPRINTABLE.search(chr(code))]
    assert len(refused) > 2000
    assert not [each for each in refused if each.isprintable()]


def test_a_usual_endpoint_reads_as_every_other() -> None:
    for written in (
        "etcd-1.example.org",
        "http://127.0.0.1:2379/",
        "https://h:65535",
        "HTTP://H:1",
        "[::1]:7",
        "h:007",
    ):
        base = base_url(written)
        scheme, host, port = parts_of(base)
        assert base == f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        assert (scheme, host) == (base.partition(":")[0], host.lower())
