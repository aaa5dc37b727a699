import fcntl
import os
import pty
import struct
import termios

import pyte
from twisted.trial.unittest import SynchronousTestCase

from echod.cli.charts import ASCII, UNICODE
from echod.cli.terminal import NO_TERMINAL_WIDTH, Colour, Output
from echod.common.text import printable
from tests.support.pages import XTERM, Stream, output


class OutputTests(SynchronousTestCase):
    def test_a_pipe_gets_permanent_lines_only(self) -> None:
        out, stream = output(terminal=False)
        out.write_lines("one", live=lambda: "live")
        out.write_lines(out.coloured("two", Colour.BAD))
        out.erase_live_line()
        self.assertEqual(stream.written, "one\ntwo\n")

    def test_each_line_is_flushed(self) -> None:
        out, stream = output(terminal=False)
        out.write_lines("one")
        self.assertEqual(stream.written, "one\n")

    def test_when_there_are_colours(self) -> None:
        for environment, coloured in (
            (XTERM, True), (XTERM | {"NO_COLOR": ""}, True), (XTERM | {"NO_COLOR": "1"}, False),
            ({"TERM": "dumb"}, False), ({}, False),
        ):  # fmt: skip
            out, _ = output(environment=environment)
            self.assertEqual(out.coloured("x", Colour.BAD) != "x", coloured, environment)
        self.assertEqual(output(terminal=False)[0].coloured("x", Colour.BAD), "x")
        self.assertEqual(output()[0].coloured("", Colour.BAD), "")

    def test_a_dumb_terminal_has_no_live_line(self) -> None:
        for environment in ({"TERM": "dumb"}, {}):
            out, stream = output(environment=environment)
            out.write_lines("one", live=lambda: self.fail("there is no live line"))
            self.assertEqual(stream.written, "one\n")

    def test_a_live_line_without_colours(self) -> None:
        self.assertTrue(output(environment=XTERM | {"NO_COLOR": "1"})[0].has_live_line)

    def test_the_live_line_is_always_the_last(self) -> None:
        screen = pyte.Screen(20, 6)
        terminal = pyte.Stream(screen)
        out, stream = output(width=20)
        seen = 0

        def shown() -> list[str]:
            nonlocal seen
            terminal.feed(stream.written[seen:].replace("\n", "\r\n"))
            seen = len(stream.written)
            return [line.rstrip() for line in screen.display if line.strip()]

        out.write_lines("one", live=lambda: "a long live line")
        self.assertEqual(shown(), ["one", "a long live line"])
        out.write_lines("two", "three", live=lambda: "short")
        self.assertEqual(shown(), ["one", "two", "three", "short"])
        out.write_lines(live=lambda: "redrawn")
        self.assertEqual(shown(), ["one", "two", "three", "redrawn"])
        out.erase_live_line()
        self.assertEqual(shown(), ["one", "two", "three"])
        out.erase_live_line()
        out.write_lines("four")
        self.assertEqual(shown(), ["one", "two", "three", "four"])

    def test_text_that_the_encoding_does_not_have(self) -> None:
        out, stream = output(terminal=False, encoding="ascii")
        self.assertIs(out.marks, ASCII)
        out.write_lines("caf\xe9")
        self.assertEqual(stream.written, "caf?\n")
        self.assertIs(output(encoding="utf-8")[0].marks, UNICODE)
        self.assertIs(output(encoding="latin-1")[0].marks, ASCII)

    def test_the_width_is_that_of_the_terminal(self) -> None:
        _, ours = pty.openpty()
        with os.fdopen(ours, "w") as stream:
            out = Output(stream, XTERM)
            for columns, width in ((40, 40), (100, 100), (0, NO_TERMINAL_WIDTH)):
                fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
                self.assertEqual(out.width, width)

    def test_an_unknown_width(self) -> None:
        for terminal in (True, False):
            self.assertEqual(Output(Stream(terminal=terminal), XTERM).width, NO_TERMINAL_WIDTH)


class PrintableTests(SynchronousTestCase):
    def test_control_characters_are_replaced(self) -> None:
        self.assertEqual(printable("a\x1b[2J\r\n\tb\x07\x9b\u202e\u200b caf\xe9"), "a?[2J???b???? caf\xe9")
