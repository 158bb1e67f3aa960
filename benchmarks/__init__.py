"""How much time and memory attrkit takes, as ratios to raw torch passes and to Captum; ``python -m benchmarks``."""

import os

# read when torch and transformers are imported: they would write a line to stderr at every measurement, and ask the network
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
