"""The guard itself: what it is there to catch, it catches."""

import pytest

pytest_plugins = ["pytester"]

DIRTY = {
    "delayed call": "reactor.callLater(60, print)",
    "socket": "reactor.listenTCP(0, Factory(), interface='127.0.0.1')",
    "logged failure": "log.err(ZeroDivisionError())",
    "unhandled Deferred": "defer.fail(ZeroDivisionError())",
}


@pytest.mark.parametrize("what", DIRTY)
def test_a_dirty_test_fails(pytester: pytest.Pytester, request: pytest.FixtureRequest, what: str) -> None:
    pytester.makeconftest((request.path.parent / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(
        f"""
        from twisted.internet import defer, reactor
        from twisted.internet.protocol import Factory
        from twisted.python import log

        def test_clean():
            pass

        def test_dirty():
            {DIRTY[what]}
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, errors=1)
