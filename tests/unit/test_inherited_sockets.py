"""The sockets that systemd passes, as options."""

from socket import AddressFamily

from twisted.trial.unittest import SynchronousTestCase

from echod.common.errors import ConfigurationError
from echod.common.options import Layer
from echod.serve.inherited_sockets import (
    InheritedSocket,
    inherited_sockets,
    replaced_options,
    socket_layer,
    unused_names,
)

FAMILIES = {3: AddressFamily.AF_INET6, 4: AddressFamily.AF_INET, 5: AddressFamily.AF_UNIX}

ECHO = InheritedSocket("echo", 0, "INET6")
ADMIN = InheritedSocket("admin", 1, "INET")
TLS = InheritedSocket("echo-tls", 2, "INET6")


class EnvironmentTests(SynchronousTestCase):
    def sockets(self, **environment: str) -> tuple[InheritedSocket, ...]:
        return inherited_sockets(environment, 42, FAMILIES.__getitem__)

    def test_names_and_families(self) -> None:
        expected = (ECHO, ADMIN, InheritedSocket("x", 2, "UNIX"))
        self.assertEqual(self.sockets(LISTEN_FDNAMES="echo:admin:x", LISTEN_FDS="3", LISTEN_PID="42"), expected)
        self.assertEqual(self.sockets(LISTEN_FDNAMES="echo:admin:x"), expected)  # as Twisted leaves them

    def test_endpoints(self) -> None:
        self.assertEqual(
            [each.endpoint for each in self.sockets(LISTEN_FDNAMES="echo:echo")],
            ["systemd:domain=INET6:index=0", "systemd:domain=INET:index=1"],
        )

    def test_no_sockets(self) -> None:
        self.assertEqual(self.sockets(), ())
        self.assertEqual(self.sockets(LISTEN_FDNAMES=""), ())
        self.assertEqual(self.sockets(LISTEN_FDNAMES="echo", LISTEN_PID="41"), ())


class LayerTests(SynchronousTestCase):
    def values(self, *sockets: InheritedSocket, **given: object) -> dict[str, object]:
        return dict(
            socket_layer(sockets, [Layer({name.replace("_", "-"): value for name, value in given.items()})]).values
        )

    def test_sockets_replace_ports(self) -> None:
        expected: dict[str, object] = {
            "listen": (ECHO.endpoint,),
            "tls-listen": (TLS.endpoint,),
            "tls-port": None,
            "admin": ADMIN.endpoint,
        }
        certificate = "x.pem"
        self.assertEqual(self.values(ECHO, ADMIN, TLS, tls_certificate=certificate), expected)
        self.assertEqual(
            self.values(ECHO, ADMIN, TLS, tls_certificate=certificate, port=1, tls_port=2, admin="3"), expected
        )

    def test_endpoints_remain(self) -> None:
        certificate = "x.pem"
        given = {"listen": ("tcp:1",), "tls_listen": ("tcp:2",), "admin": "tcp:3", "tls_certificate": certificate}
        self.assertEqual(self.values(ECHO, ADMIN, TLS, **given), {})
        self.assertEqual(self.values(ECHO, listen=()), {"listen": (ECHO.endpoint,)})

    def test_several_sockets_of_one_name(self) -> None:
        other = InheritedSocket("echo", 1, "INET")
        self.assertEqual(self.values(ECHO, other), {"listen": (ECHO.endpoint, other.endpoint)})

    def test_without_sockets_there_are_no_options(self) -> None:
        self.assertEqual(self.values(), {})
        self.assertEqual(self.values(InheritedSocket("x", 0, "INET6")), {})

    def test_a_later_layer_decides(self) -> None:
        layers = [Layer({"listen": ("tcp:1",)}), Layer({"listen": ()})]
        self.assertEqual(dict(socket_layer([ECHO], layers).values), {"listen": (ECHO.endpoint,)})

    def test_the_tls_socket_requires_a_certificate(self) -> None:
        with self.assertRaises(ConfigurationError) as refused:
            socket_layer([TLS], [])
        self.assertEqual(str(refused.exception), "the socket echo-tls from systemd requires tls-certificate")


class NoticeTests(SynchronousTestCase):
    def test_replaced_options(self) -> None:
        earlier = [Layer({"port": 1, "timeout": 2.0}), Layer({"backlog": 3, "tls-port": 4, "admin": "5"})]
        for values, replaced in (
            ({}, []),
            ({"listen": ()}, ["port"]),
            ({"tls-listen": (), "tls-port": None}, ["tls-port"]),
            ({"admin": "x"}, ["admin"]),
        ):
            self.assertEqual(replaced_options(Layer(values), earlier), replaced)

    def test_unused_names(self) -> None:
        sockets = [ECHO, ADMIN, TLS]
        self.assertEqual(unused_names(sockets, []), ["echo", "admin", "echo-tls"])
        self.assertEqual(unused_names(sockets, ["systemd:domain=INET6:name=echo-tls"]), ["echo", "admin"])
        self.assertEqual(unused_names(sockets, ["haproxy:systemd:domain=INET6:index=0", ""]), ["admin", "echo-tls"])
        self.assertEqual(unused_names(sockets, [each.endpoint for each in sockets]), [])
