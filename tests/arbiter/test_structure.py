"""The state of an actuator has one owner: its fields are assigned by its own methods only."""

import ast
from pathlib import Path

import pytest

ARBITER = Path(__file__).parent.parent.parent / "agent" / "arbiter"


def foreign_assignments(source: str) -> list[str]:
    """Assignments to a field of an object other than `self`, or to an item of such a field; deletions too."""
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute | ast.Subscript)
        and isinstance(node.ctx, ast.Store | ast.Del)
        and _is_foreign(node)
    ]


def _is_foreign(target: ast.expr) -> bool:
    while isinstance(target, ast.Subscript):
        target = target.value
    if isinstance(target, ast.Attribute):
        return not (isinstance(target.value, ast.Name) and target.value.id == "self")
    return False


@pytest.mark.parametrize("file", sorted(ARBITER.glob("*.py")), ids=lambda file: file.name)
def test_only_an_object_itself_assigns_to_its_fields(file):
    assert foreign_assignments(file.read_text()) == []


@pytest.mark.parametrize(
    "statement",
    [
        "actuator.attempt = None",
        "actuator.writes += 1",
        "actuator.priority_array[8] = slot",
        "del actuator.priority_array[8]",
        "self.table.actuator.boot = boot",
        "slot = actuator.attempt = None",
        "a, actuator.attempt = 1, 2",
    ],
)
def test_an_assignment_from_outside_is_found(statement):
    assert len(foreign_assignments(statement)) == 1


def test_no_other_room_imports_the_actuator():
    """So that what holds in the arbiter's folder holds everywhere."""
    root = ARBITER.parent
    users = [
        file
        for file in root.rglob("*.py")
        if file.parent != ARBITER and "agent.arbiter.actuator " in file.read_text().replace("\n", " ")
    ]
    assert users == []
