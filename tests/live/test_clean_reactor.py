"""Tests of the fixture `clean_reactor`: it fails a test that leaves one of these things behind."""

import pytest

pytest_plugins = ["pytester"]

LEFT_BEHIND = {
    "delayed call": "reactor.callLater(60, print)",
    "socket": "reactor.listenTCP(0, Factory(), interface='127.0.0.1')",
    "logged failure": "log.err(ZeroDivisionError())",
    "unhandled Deferred": "defer.fail(ZeroDivisionError())",
}


@pytest.mark.parametrize("kind", LEFT_BEHIND)
def test_a_test_that_leaves_something_behind_fails(
    pytester: pytest.Pytester, request: pytest.FixtureRequest, kind: str
) -> None:
    pytester.makeconftest((request.path.parent / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(
        f"""
        from twisted.internet import defer, reactor
        from twisted.internet.protocol import Factory
        from twisted.python import log

        def test_clean():
            pass

        def test_dirty():
            {LEFT_BEHIND[kind]}
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, errors=1)
