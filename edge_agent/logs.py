"""Logging, configured once by `main.py`: text on a terminal, JSON lines otherwise."""

from __future__ import annotations

import json
import logging
import sys
import time

from edge_agent.config import LoggingConfig


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure_logging(config: LoggingConfig) -> None:
    handler = logging.StreamHandler(sys.stderr)
    as_text = config.format == "text" or (config.format == "auto" and sys.stderr.isatty())
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S") if as_text else JsonLines()
    )
    logging.basicConfig(level=config.level, handlers=[handler], force=True)
    for library in ("asyncio", "grpc"):  # their DEBUG is about themselves
        logging.getLogger(library).setLevel(max(logging.getLogger().level, logging.INFO))
