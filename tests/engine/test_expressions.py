"""Expressions come out as the recorded upstream server answers them."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.errors import InvalidRequestError
from engine.core.expressions import (
    WHOLE,
    apply_input_template,
    compile_template,
    merge_input_template,
)
from engine.core.jsonpath import PATH_CHARS_MAX
from engine.core.values import DEPTH_MAX

PEOPLE = [{"name": "Ada", "age": 36}, {"name": "Bob", "age": 17}, {"name": "Cy", "age": 64}]
DATA: dict[str, Any] = {
    "s": "text",
    "i": 7,
    "big": 12345678901234,
    "d": 2.5,
    "w": 3.0,
    "t": True,
    "f": False,
    "n": None,
    "e": "",
    "z": 0,
    "l": [1, "two", {"three": 3}, None],
    "people": PEOPLE,
    "which": "k",
    "text": "${workflow.input.s}",
    "dollar": "$5",
    "m": {"k": "v", "in": {"deep": [10, 20, 30]}, "with.dot": 1, "with space": 2, "dash-ed": 3},
    "ключ": "значение",
}


class Documents:
    """A scope over plain dictionaries that remembers what was asked."""

    def __init__(self, tasks: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None) -> None:
        self.tasks = tasks or {}
        self.environment = env or {}
        self.asked: list[str] = []

    def task(self, ref: str) -> Mapping[str, Any] | None:
        self.asked.append(ref)
        found: Mapping[str, Any] | None = self.tasks.get(ref)
        return found

    def workflow(self) -> Mapping[str, Any]:
        return {"input": DATA, "output": {}, "variables": {"x": 1}, "workflowId": "w1"}

    def env(self, name: str) -> str | None:
        return self.environment.get(name)


def evaluate(value: Any, **scope: Any) -> Any:
    return compile_template(value).evaluate(Documents(**scope))


@pytest.mark.parametrize("key", [*DATA])
def test_whole_string_keeps_the_type(key: str) -> None:
    """A string that is one expression becomes the value itself; text in it is not evaluated again."""
    found = evaluate("${workflow.input." + key + "}")

    assert (found, type(found)) == (DATA[key], type(DATA[key]))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("<${workflow.input.big}>", "<12345678901234>"),
        ("<${workflow.input.d}>", "<2.5>"),
        ("<${workflow.input.w}>", "<3.0>"),
        ("<${workflow.input.t}>", "<true>"),
        ("x${workflow.input.n}", "xnull"),
        ("<${workflow.input.missing}>", "<null>"),
        ("<${workflow.input.e}>", "<>"),
        (" ${workflow.input.i} ", " 7 "),
        ("${workflow.input.s}${workflow.input.i}", "text7"),
        ("${workflow.input.s}-${workflow.input.s}", "text-text"),
        ("${workflow.input.l}!", "[1, two, {three=3}, null]!"),
        ("<${workflow.input.m.in}>", "<{deep=[10, 20, 30]}>"),
        ("<${workflow.input.people[*].age}>", "<[36,17,64]>"),
        ("<${workflow.input.people[?(@.age < 18)]}>", '<[{"name":"Bob","age":17}]>'),
        ("<${workflow.input.m.in.deep.max()}>", "<30.0>"),
        ("<${workflow.input.dollar}>", "<$5>"),
        ("<${workflow.input.text}>", "<${workflow.input.s}>"),
        ("$${workflow.input.s}", "${workflow.input.s}"),
        ("a $${workflow.input.s} b", "a ${workflow.input.s} b"),
        ("$${workflow.input.s} ${workflow.input.s}", "${workflow.input.s} text"),
        ("costs $5", "costs $5"),
        ("{x}", "{x}"),
        ("$", "$"),
        ("$$", "$$"),
        ("${workflow.input.s", "${workflow.input.s"),
        ("${a ${workflow.input.s}", "${a text"),
        ("}${workflow.input.s}{", "}text{"),
        ("<${}>", "<>"),
    ],
)
def test_embedded_expressions_become_text(template: str, text: str) -> None:
    """Inside a longer string values print the Java way, lists of indefinite paths as JSON; `$$` escapes."""
    assert evaluate(template) == text


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("people[*].name", ["Ada", "Bob", "Cy"]),
        (".name", ["Ada", "Bob", "Cy"]),
        ("people[*].x", []),
        (".nothing", []),
        ("nothing[*].x", []),
        ("people[?(@.age > 18)].name", ["Ada", "Cy"]),
        ("people[?(@.name == 'Bob')]", [PEOPLE[1]]),
        ("people[?(@.name =~ /a.*/i)].age", [36]),
        ("people[?(@.age in [17, 64])].name", ["Bob", "Cy"]),
        ("people[?(@.age > 99)]", []),
        ("people[?(@.age > 18 && @.age < 50)].name", ["Ada"]),
        ("people[?(@.age)].age", [36, 17, 64]),
        ("people[?(@.age > $.workflow.input.people[1].age)].name", ["Ada", "Cy"]),
        ("m.in[?(@.deep)]", [DATA["m"]["in"]]),
        ("m.in.*", [[10, 20, 30]]),
        ("m.in.deep[0:2]", [10, 20]),
        ("m.in.deep[-2:]", [20, 30]),
        ("m.in.deep[0,2]", [10, 30]),
        ("m.in.deep[-1]", 30),
        ("m.in.deep[3]", None),
        ("m.in.deep.k", None),
        ("m[0]", None),
        ("s.length", None),
        ("m['with.dot']", 1),
        ('m["with space"]', 2),
        ("m.dash-ed", 3),
        ("m['k','dash-ed','none']", {"k": "v", "dash-ed": 3}),
        ("m.with space", None),
        ("people.length()", 3),
        ("l.size()", 4),
        ("m.in.keys()", ["deep"]),
        ("s.length()", None),
        ("nothing.length()", None),
        ("m.in.deep.min()", 10.0),
        ("m.in.deep.max()", 30.0),
        ("m.in.deep.avg()", 20.0),
        ("m.in.deep.sum()", 60.0),
        ("people[*].age.max()", 64.0),
        ("m.in.deep.first()", 10),
        ("m.in.deep.last()", 30),
        ("m.in.deep.index(1)", 20),
        ("l.min()", 1.0),
        ("e.max()", None),
        ("m.in.deep.unknown()", None),
        ("m.", None),
        ("m[", None),
        ("m['k'", None),
        ("m[x]", None),
        ("people[?(@.age >]", None),
    ],
)
def test_paths_answer_like_jayway(path: str, value: Any) -> None:
    """Missing things are null, indefinite paths give lists, functions end a path, what is no path is null."""
    found = evaluate("${workflow.input." + path + "}")

    assert (found, type(found)) == (value, type(value))


def test_structures_are_filled_in_place() -> None:
    """Lists and maps are walked at any depth, keys keep their order and are never substituted."""
    value = {"b": ["${workflow.input.i}", {"${workflow.input.s}": "<${workflow.input.i}>"}, 5], "a": None}

    found = evaluate(value)

    assert found == {"b": [7, {"${workflow.input.s}": "<7>"}, 5], "a": None}
    assert list(found) == ["b", "a"]


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${workflow.input.m.${workflow.input.which}}", "v"),
        ("${${workflow.input.m.none}}", None),
        ("<${workflow.input.m.${workflow.input.which}}>", "<v>"),
        ("${workflow.input.people[${workflow.variables.x}].name}", "Bob"),
        ("${" * 50 + "x" + "}" * 50, None),
        ("${workflow.input." + "x" * PATH_CHARS_MAX + "}", None),
    ],
)
def test_nested_expressions(template: str, value: Any) -> None:
    """Inner expressions become text of the outer path; too deep or too long ones are null."""
    assert evaluate(template) == value


def test_tasks_are_read_by_reference() -> None:
    """A task is read by its reference name, dashes and blanks included; one that never ran is null."""
    tasks = {"a-b": {"output": {"x": 1}, "status": "COMPLETED"}, "c d": {"output": {"x": [2]}}}

    values = [
        "${a-b.output.x}",
        "${a-b.status}",
        "${['c d'].output.x[0]}",
        "${none.output.x}",
        "${a-b}",
        "${none}",
    ]

    assert evaluate(values, tasks=tasks) == [1, "COMPLETED", 2, None, tasks["a-b"], None]


def test_only_needed_keys_are_asked_for() -> None:
    """A lazily filled task document is asked for nothing but the key on the path."""

    class OutputOnly(dict[str, Any]):
        def __missing__(self, key: str) -> Any:
            pytest.fail(f"asked for {key}")

    assert evaluate("${a.output.x}", tasks={"a": OutputOnly(output={"x": 1})}) == 1


def test_environment_names() -> None:
    """Bare names of the environment hide task references; stored ones are asked for with their prefix."""
    env = {
        "a": "from env",
        "CPEWF_TASK_ID": "t1",
        "workflow.env.V": '{"k": [5]}',
        "workflow.env.W": "no json",
    }
    values = [
        "${a}",
        "${a.output}",
        "${CPEWF_TASK_ID}",
        "${workflow.env.V.k[0]}",
        "${workflow.env.W.k}",
        "${workflow.env.NONE}",
        "${workflow.env.W}",
    ]

    found = evaluate(values, tasks={"a": {"output": 1}}, env=env)

    assert found == ["from env", 1, "t1", 5, None, None, "no json"]


def test_secrets_stay_literal() -> None:
    """References to secrets are left as they are, whole and embedded, and need no scope."""
    template = compile_template(["${workflow.secrets.KEY}", "<${workflow.secrets.KEY.a}>"])

    assert template.constant
    assert template.evaluate(Documents()) == ["${workflow.secrets.KEY}", "<${workflow.secrets.KEY.a}>"]


@pytest.mark.parametrize(
    ("value", "refs", "workflow", "dynamic"),
    [
        ("plain $${a.b}", set(), set(), False),
        ("${a.output.x} ${b.input}", {"a", "b"}, set(), False),
        ("${['c d'].output}", {"c d"}, set(), False),
        ("${$.a.output}", {"a"}, set(), False),
        ("${a}", {"a"}, set(), False),
        ("${CPEWF_TASK_ID}", set(), set(), False),
        ("${workflow.input.x}", set(), {"input"}, False),
        ("${workflow['variables'].x}", set(), {"variables"}, False),
        ("${workflow}", set(), {WHOLE}, False),
        ("${workflow..x}", set(), {WHOLE}, False),
        ("${a.output.${b.output.k}}", {"a", "b"}, set(), False),
        ("${workflow.input.${b.output.k}}", {"b"}, {"input"}, False),
        ("${workflow.${b.output.k}}", {"b"}, {WHOLE}, False),
        ("${${b.output.k}.output}", {"b"}, {WHOLE}, True),
        ("${$..x}", set(), {WHOLE}, True),
        ("${a.output[?(@.x == $.b.output.x)]}", {"a"}, {WHOLE}, True),
        ({"k": ["${a.output}", {"j": "${b.output}"}]}, {"a", "b"}, set(), False),
    ],
)
def test_reads_are_known_before_evaluation(
    value: Any, refs: set[str], workflow: set[str], dynamic: bool
) -> None:
    """A template names the tasks and workflow parts it reads, or says that it cannot."""
    template = compile_template(value)

    assert template.refs == refs
    assert template.reads_workflow == workflow
    assert template.dynamic == dynamic


@pytest.mark.parametrize(
    "template",
    [
        "${a.output.x}",
        "<${a.output.x}>",
        "${a.output[*].x}",
        "${workflow.input.people[?(@.age > $.a.output)]}",
    ],
)
def test_errors_of_the_scope_pass_through(template: str) -> None:
    """What the scope raises reaches the caller untouched, also from inside a filter."""

    class MissingFactsError(ValueError):
        pass

    class Failing(Documents):
        def task(self, ref: str) -> Mapping[str, Any] | None:
            raise MissingFactsError(ref)

    with pytest.raises(MissingFactsError, match=r"^a$"):
        compile_template(template).evaluate(Failing())


def test_constant_containers_are_new_each_time() -> None:
    """Who adds keys to an evaluated input does not change the definition."""
    template = compile_template({"a": 1})

    template.evaluate(Documents())["b"] = 2

    assert template.evaluate(Documents()) == {"a": 1}


def test_too_deep_parameters_are_refused() -> None:
    """Nesting beyond the bound is an error with a remedy, not a crash."""
    value: Any = "x"
    for _ in range(DEPTH_MAX + 1):
        value = [value]

    with pytest.raises(InvalidRequestError, match="flatten"):
        compile_template(value)


def test_exploding_paths_end() -> None:
    """A path whose steps multiply beyond the bound is null instead of filling the memory."""
    value: Any = 1
    for _ in range(60):
        value = {"a": value, "b": value}  # shared, so small in memory, yet endless to walk

    assert evaluate("${a..*}", tasks={"a": {"output": value}}) is None


def test_input_templates() -> None:
    """A task definition's template adds missing keys before, and replaces nulls after, the evaluation."""
    template = {"x": "${workflow.input.i}", "y": 5, "z": "z"}

    merged = merge_input_template({"y": "${workflow.input.none}", "n": None}, template)
    found = apply_input_template(evaluate(merged), template)

    assert found == {"y": 5, "n": None, "x": 7, "z": "z"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
PIECES = st.sampled_from(
    [
        "$",
        "{",
        "}",
        "${",
        "$${",
        "workflow",
        "input",
        ".",
        "..",
        "[",
        "]",
        "*",
        "'",
        "?(",
        ")",
        "@",
        "people",
        "name",
        "0",
        "-1",
        ":",
        ",",
        "length()",
        " ",
        "==",
        "a",
        "\\",
        "&&",
        "\n",
        "secrets",
        "env",
    ]
)


@settings(deadline=None)
@given(JSON.filter(lambda value: "${" not in repr(value)))
def test_constants_are_themselves(value: Any) -> None:
    """A value without expressions is constant and evaluates to itself."""
    template = compile_template(value)

    assert template.constant
    assert template.evaluate(Documents()) == value


@settings(deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join))
def test_arbitrary_text_never_raises(text: str) -> None:
    """Whatever an author writes, evaluation answers something."""
    tasks = {"a": {"output": {"name": ["x", {"a": None}]}}}

    evaluate([text, "${" + text + "}", "${workflow.input." + text + "}", "${a." + text + "}"], tasks=tasks)


@settings(deadline=None)
@given(JSON)
def test_whole_strings_keep_any_value(value: Any) -> None:
    """A whole-string expression gives the very object that was there."""
    assert evaluate("${a.output.x}", tasks={"a": {"output": {"x": value}}}) is value
