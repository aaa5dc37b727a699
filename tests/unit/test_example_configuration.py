"""etc/echod.toml: each setting is commented out, and valid when it is not."""

import re
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from echod.common.options import file_layer, options_of
from echod.server.config import ServerConfiguration

EXAMPLE = (Path(__file__).parents[2] / "etc" / "echod.toml").read_text(encoding="utf-8")
SETTINGS = re.findall(r"^#([a-z].*)$", EXAMPLE, re.MULTILINE)
NO_DEFAULT = {"stream", "listen", "admin"}
"""Options whose default is off; other examples than these show a default where there is one."""


class ExampleTests(SynchronousTestCase):
    def test_the_file_as_it_is_changes_nothing(self) -> None:
        self.assertEqual(tomllib.loads(EXAMPLE), {})

    def test_every_line_is_empty_a_comment_or_a_setting(self) -> None:
        for line in EXAMPLE.splitlines():
            self.assertRegex(line, r"^(# .*|#|#[a-z0-9-]+ = .+|)$")

    def test_every_option_is_shown(self) -> None:
        self.assertEqual(
            {line.split()[0] for line in SETTINGS}, {each.name for each in options_of(ServerConfiguration)}
        )

    def test_every_setting_is_valid_and_shows_the_default_if_there_is_one(self) -> None:
        defaults = {each.name: each.default for each in options_of(ServerConfiguration)}
        for line in SETTINGS:
            ((name, value),) = file_layer(ServerConfiguration, tomllib.loads(line), "echod.toml").values.items()
            if name not in NO_DEFAULT and defaults[name] not in (None, ()):
                self.assertEqual(value, defaults[name], line)
