"""The list of private names in `transport/private.py` agrees with the source, and a missing name has its effect."""

import ast
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Port, Server
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

import echod
from echod.transport import fast_reactor, private
from echod.transport.connection import FastConnection
from echod.transport.poller import Poller
from tests.support.memory import ReadingClock

PACKAGE = Path(echod.__file__).parent
USERS = sorted(
    path
    for path in [*(PACKAGE / "transport").glob("*.py"), PACKAGE / "server" / "accept_pause.py"]
    if path.name != "private.py"
)
"""The modules that may use private names: the package, and one user of its ports."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def attributes(tree: ast.AST) -> Iterator[str]:
    """Yield the private attributes that a module uses, or defines in a class."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            yield node.attr
        elif isinstance(node, ast.ClassDef):
            yield from filter(is_private, class_names(node))


def class_names(node: ast.ClassDef) -> Iterator[str]:
    """Yield the names that the body of a class defines."""
    for each in node.body:
        if isinstance(each, ast.FunctionDef):
            yield each.name
        elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            yield each.target.id
        elif isinstance(each, ast.Assign):
            yield from (target.id for target in each.targets if isinstance(target, ast.Name))


def own_names(tree: ast.AST) -> Iterator[str]:
    """Yield the private attributes that the classes of a module define or set on `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from filter(is_private, class_names(node))
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
            and is_private(node.attr)
        ):
            yield node.attr


def of_bases(name: str) -> bool:
    """Return whether a class that the transport extends or calls has the private attribute."""
    return any(hasattr(owner, name) for owner in (Port, Server, socket.socket)) or name in private.SERVER_ATTRIBUTES


def fast_connection() -> Iterator[FastConnection]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        poller: Any = SimpleNamespace(register=lambda *_: None)
        port: Any = SimpleNamespace(_realPortNumber=1)
        yield FastConnection(ours, Protocol(), ("::1", 1, 0, 0), port, 0, poller)


class PrivateNameTests(SynchronousTestCase):
    def setUp(self) -> None:
        trees = [ast.parse(path.read_text(encoding="utf-8")) for path in USERS]
        self.used = {name for tree in trees for name in attributes(tree)}
        self.own = {name for tree in trees for name in own_names(tree)}
        self.listed = {each.name for each in private.PRIVATE_NAMES}

    def test_every_used_name_is_listed(self) -> None:
        foreign = {name for name in self.used if name not in self.own or of_bases(name)}
        self.assertEqual(foreign - self.listed, set())

    def test_every_listed_name_is_used(self) -> None:
        self.assertEqual(self.listed - self.used, set())

    def test_no_private_module_or_name_is_imported(self) -> None:
        for path in USERS:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    words = [*str(node.module).split("."), *(alias.name for alias in node.names)]
                    self.assertFalse(any(map(is_private, words)), f"{path}: {words}")

    def test_every_name_has_one_entry(self) -> None:
        entries = [str(each) for each in private.PRIVATE_NAMES]
        self.assertEqual(len(entries), len(set(entries)))

    def test_none_is_missing_in_this_twisted(self) -> None:
        self.assertEqual(private.missing(), [])

    def test_a_fast_connection_has_every_attribute_of_a_server(self) -> None:
        for connection in fast_connection():
            lacking = {name for name in private.SERVER_ATTRIBUTES if not hasattr(connection, name)}
            self.assertEqual(lacking, {"repstr"})  # __repr__ replaces it

    def test_the_check_is_fast(self) -> None:
        durations = []
        for _ in range(5):
            began = time.perf_counter()
            private.missing()
            durations.append(time.perf_counter() - began)
        self.assertLess(min(durations), 0.002)


class MissingNameTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events = EventLoggingObserver()
        globalLogPublisher.addObserver(self.events)
        self.addCleanup(globalLogPublisher.removeObserver, self.events)
        self.reactor = ReadingClock()
        directlyProvides(self.reactor, IReactorFDSet)

    def messages(self) -> list[str]:
        return [str(event["log_format"]).format(**event) for event in self.events]

    def test_the_fast_transport_with_all_names(self) -> None:
        self.assertIsInstance(fast_reactor(self.reactor), Poller)
        self.assertEqual(self.messages(), [])

    def test_the_stock_transport_without_a_name(self) -> None:
        lost = private.PrivateName(Port, "_noSuchName", "removed by a release")
        with mock.patch.object(private, "PRIVATE_NAMES", (*private.PRIVATE_NAMES, lost)):
            self.assertIs(fast_reactor(self.reactor), self.reactor)
        self.assertEqual(
            self.messages(),
            ["using the stock transport: Twisted or Python lacks twisted.internet.tcp.Port._noSuchName"],
        )

    def test_the_stock_transport_without_a_method_of_twisted(self) -> None:
        build = Port._buildAddr
        self.addCleanup(setattr, Port, "_buildAddr", build)
        delattr(Port, "_buildAddr")
        self.assertIs(fast_reactor(self.reactor), self.reactor)
        self.assertEqual(
            self.messages(), ["using the stock transport: Twisted or Python lacks twisted.internet.tcp.Port._buildAddr"]
        )

    def test_the_stock_transport_with_another_attribute_of_a_server(self) -> None:
        initialise = Server.__init__

        def __init__(server: Any, *arguments: Any) -> None:
            initialise(server, *arguments)
            server.added = True

        with mock.patch.object(Server, "__init__", __init__):
            self.assertIs(fast_reactor(self.reactor), self.reactor)
        (message,) = self.messages()
        self.assertTrue(message.endswith("lacks the known attributes of twisted.internet.tcp.Server (changed: added)"))

    def test_the_stock_transport_with_other_arguments_of_a_server(self) -> None:
        def __init__(server: Any) -> None:
            """Take no arguments."""

        with mock.patch.object(Server, "__init__", __init__):
            self.assertIs(fast_reactor(self.reactor), self.reactor)
        (message,) = self.messages()
        self.assertIn("lacks twisted.internet.tcp.Server as it was known (TypeError: ", message)
