"""Every rule of the house, held against the repository itself; test_rules_catch.py shows that each can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from structure import form_rules, help_rules, import_rules, safety_rules, text_rules
from structure.source_tree import Repository

ROOT = Path(__file__).resolve().parents[2]

RULES = [
    import_rules.floors,
    import_rules.parts,
    import_rules.families,
    import_rules.dynamic_imports,
    import_rules.declared_dependencies,
    import_rules.used_dependencies,
    form_rules.formatted,
    form_rules.file_lengths,
    form_rules.function_lengths,
    form_rules.forbidden_names,
    form_rules.docstrings,
    form_rules.work_at_import,
    help_rules.help_elsewhere,
    help_rules.private_in_signatures,
    safety_rules.no_pickle,
    safety_rules.no_code_from_strings,
    safety_rules.no_bare_except,
    safety_rules.no_shell,
    text_rules.nothing_unfinished,
    text_rules.no_machine_paths,
    text_rules.no_registry_hosts,
    text_rules.links_lead_somewhere,
]


@pytest.fixture(scope="module")
def repository() -> Repository:
    return Repository(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_repository_keeps(rule, repository):
    violations = rule(repository)
    assert not violations, f"{rule.__doc__.splitlines()[0]}\n" + "\n".join(violations)


def test_functions_are_short_on_average(repository):
    lengths = [length for source in repository.package for _, length in form_rules.functions(source)]
    assert sum(lengths) / len(lengths) <= 25, "style: functions of about 7 to 25 lines"
