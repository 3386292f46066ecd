"""SWITCH and DECISION choose a list of tasks; what follows the choice is what followed the task."""

from __future__ import annotations

from engine.testing.story import Definition, Story, switch, task


def _decision(cases: dict[str, list[Definition]], *default: Definition) -> Definition:
    return task(
        "s",
        "DECISION",
        caseValueParam="on",
        inputParameters={"on": "${workflow.input.on}"},
        decisionCases=cases,
        defaultCase=list(default),
    )


def _switched(on: object, cases: dict[str, list[Definition]], *default: Definition) -> Story:
    return Story.of(switch("s", "${workflow.input.on}", cases, *default), task("z")).begun(on=on)


def test_the_case_of_the_value_runs_then_what_follows() -> None:
    """The task is complete at once and tells its choice; `z` waits for the end of the case."""
    story = _switched("left", {"left": [task("a"), task("a2")], "right": [task("b")]})

    assert story.shown == ["s COMPLETED", "a SCHEDULED"]
    assert story.output_of("s") == {"evaluationResult": ["left"], "selectedCase": "left"}
    assert story.input_of("s") == {"on": "left", "case": "left", "hasChildren": "true"}
    story.done("a")
    story.done("a2")

    assert story.open_refs() == ["z"]


def test_an_unknown_value_runs_the_default() -> None:
    """Values nobody wrote a case for are the default's business."""
    assert _switched("up", {"left": [task("a")]}, task("d")).open_refs() == ["d"]


def test_without_a_default_the_flow_goes_on_behind_it() -> None:
    """Nothing to run is not an error."""
    assert _switched("up", {"left": [task("a")]}).open_refs() == ["z"]


def test_an_empty_case_of_a_switch_runs_nothing() -> None:
    """Not even the default."""
    assert _switched("left", {"left": []}, task("d")).open_refs() == ["z"]


def test_an_empty_case_of_a_decision_runs_its_default() -> None:
    """The older type differs here, and workflows rely on it."""
    story = Story.of(_decision({"left": []}, task("d")), task("z")).begun(on="left")

    assert story.open_refs() == ["d"]
    assert story.output_of("s") == {"caseOutput": ["left"]}


def test_values_are_compared_as_upstream_prints_them() -> None:
    """Numbers, booleans and null have texts of their own."""
    cases = {text: [task(f"c{n}")] for n, text in enumerate(("5", "1.0", "true", "null"))}

    chosen = [_switched(on, cases).open_refs() for on in (5, 1.0, True, None)]

    assert chosen == [["c0"], ["c1"], ["c2"], ["c3"]]


def test_an_evaluator_nobody_knows_fails_the_workflow() -> None:
    """The reason names it."""
    odd = {**switch("s", 1, {}), "evaluatorType": "cobol"}
    story = Story.of(odd).begun()

    assert story.state == "FAILED"
    assert story.why is not None
    assert "No evaluator registered for type: cobol" in story.why


def test_switches_nest() -> None:
    """The end of an inner case leads to what follows the outer switch."""
    inner = switch("t", "${workflow.input.then}", {"x": [task("a")]})
    story = Story.of(switch("s", "${workflow.input.on}", {"left": [inner]}), task("z")).begun(
        on="left", then="x"
    )

    assert story.shown == ["s COMPLETED", "t COMPLETED", "a SCHEDULED"]
    story.done("a")

    assert story.open_refs() == ["z"]
