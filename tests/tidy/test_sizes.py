"""What fits on a screen is read; what does not is skimmed."""

from tests.tidy.tree import PYTHON_FOLDERS, functions, parsed, python_files, shown

FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 500


def test_functions_are_short() -> None:
    """No function, nested ones included, is longer than 70 lines from its `def` to its end."""
    too_long = [
        f"{shown(path)}:{function.lineno} {function.name}: {lines} lines"
        for path in python_files(*PYTHON_FOLDERS)
        for function in functions(parsed(path))
        if (lines := (function.end_lineno or function.lineno) - function.lineno + 1) > FUNCTION_LINES_MAX
    ]

    assert too_long == []


def test_modules_are_short() -> None:
    """No Python file is longer than 500 lines."""
    too_long = [
        f"{shown(path)}: {lines} lines"
        for path in python_files(*PYTHON_FOLDERS)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MODULE_LINES_MAX
    ]

    assert too_long == []
