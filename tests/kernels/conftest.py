"""Lets the tests run against another build of the engine, such as one with sanitizers."""

import importlib.util
import os
import sys

_OTHER_BUILD = os.environ.get("ESPALIER_ENGINE_MODULE")
if _OTHER_BUILD:
    _NAME = "edge_agent.runtime._engine"
    _SPEC = importlib.util.spec_from_file_location(_NAME, _OTHER_BUILD)
    assert _SPEC is not None
    assert _SPEC.loader is not None
    _MODULE = importlib.util.module_from_spec(_SPEC)
    _SPEC.loader.exec_module(_MODULE)
    sys.modules[_NAME] = _MODULE
