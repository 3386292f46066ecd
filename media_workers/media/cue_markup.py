"""The text of a cue: `b`, `i`, `u`, `c` and `v` stay, in good order; any other markup goes, the rest is text.

Grammar: WebVTT (W3C), 4.2.2, "WebVTT cue text".
"""

import re
import unicodedata

import msgspec

CUE_CHARS_MAX = 1000
CUE_LINES_MAX = 12
CLASSES_MAX = 4
VOICE_CHARS_MAX = 80
# Deeper than any subtitle is styled.
TAGS_OPEN_MAX = 8

_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)([^<>]*)>|<(?=[\d:.]+>)[\d:.]+>|<!--.*?-->", re.DOTALL)
_CLASSES = re.compile(r"(?:\.[A-Za-z0-9_-]{1,32})*")
_ENTITY = re.compile(r"&(?!(?:amp|lt|gt|nbsp|lrm|rlm);)")
_STYLED = {"b", "i", "u", "c"}
# Line positions that ASS leaves behind in texts.
_OVERRIDE = re.compile(r"\{\\[^{}]*\}")


class CleanMarkup(msgspec.Struct, frozen=True, kw_only=True):
    """Cue text that keeps to the grammar; `cut` says whether some of it was too long."""

    text: str
    cut: bool


def clean_markup(text: str) -> CleanMarkup:
    """Make a cue's text safe: `CUE_CHARS_MAX` characters in `CUE_LINES_MAX` lines, no empty ones."""
    plain = _OVERRIDE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    lines = [_printable(line) for line in plain.split("\n")]
    source = "\n".join(line for line in lines if line)
    writer = _Writer()
    position = 0
    for tag in _TAG.finditer(source):
        writer.add_text(source[position : tag.start()])
        writer.add_tag(tag)
        position = tag.end()
    writer.add_text(source[position:])
    return writer.finished()


class _Writer:
    """Puts a cue together: text escaped, tags balanced, both bounded."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._open: list[str] = []
        self._left = CUE_CHARS_MAX
        self._cut = False

    def add_text(self, text: str) -> None:
        shown = text[: self._left]
        self._cut = self._cut or len(shown) < len(text)
        self._left -= len(shown)
        escaped = _ENTITY.sub("&amp;", shown).replace("<", "&lt;").replace(">", "&gt;")
        self._parts.append(escaped)

    def add_tag(self, tag: re.Match[str]) -> None:
        name = (tag[2] or "").lower()
        if tag[1]:
            # Closing a tag that is not the last one opened would cross it: then it is no tag of ours.
            if self._open and self._open[-1] == name:
                self._open.pop()
                self._parts.append(f"</{name}>")
            return
        if len(self._open) >= TAGS_OPEN_MAX:
            return
        if name in _STYLED:
            self._opened(name, f"<{name}{_classes(tag[3])}>")
        elif name == "v" and (voice := _voice(tag[3])):
            self._opened(name, f"<v {voice}>")

    def _opened(self, name: str, written: str) -> None:
        self._open.append(name)
        self._parts.append(written)

    def finished(self) -> CleanMarkup:
        text = "".join(self._parts) + "".join(f"</{name}>" for name in reversed(self._open))
        lines = [line.strip() for line in text.split("\n")]
        lines = [line for line in lines if line]
        # Lines that say nothing but tags show nothing.
        if not re.sub(r"<[^>]*>|\s|&nbsp;|&lrm;|&rlm;", "", text):
            return CleanMarkup(text="", cut=False)
        # Too many lines become one long last line: no tag is lost on the way.
        if len(lines) > CUE_LINES_MAX:
            lines = [*lines[: CUE_LINES_MAX - 1], " ".join(lines[CUE_LINES_MAX - 1 :])]
        return CleanMarkup(text="\n".join(lines), cut=self._cut)


def _classes(text: str) -> str:
    found = _CLASSES.match(text)
    names = found[0].split(".")[1:] if found else []
    return "".join(f".{name}" for name in names[:CLASSES_MAX])


def _voice(text: str) -> str:
    # Classes of a voice are dropped: who speaks is what counts.
    annotation = " ".join(text[_CLASSES.match(text).end() :].split())  # type: ignore[union-attr] # matches "" too
    return _ENTITY.sub("&amp;", annotation[:VOICE_CHARS_MAX].strip())


def _printable(line: str) -> str:
    """The line without what cannot be seen; U+200E and U+200F order right-to-left text and stay."""
    kept = (
        " " if char == "\t" else char
        for char in line
        if char in "\t\u200e\u200f\u200d\u200c"
        or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    )
    return "".join(kept).strip()
