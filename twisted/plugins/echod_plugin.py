"""Makes `twistd echod` known."""

from twisted.application.service import ServiceMaker

echod = ServiceMaker("echod", "echod.serve.twistd_options", "A TCP echo daemon to be trusted with a port.", "echod")
