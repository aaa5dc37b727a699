"""Registers the `twistd echod` command."""

from twisted.application.service import ServiceMaker

echod = ServiceMaker("echod", "echod.serve.twistd_options", "A TCP echo daemon.", "echod")
