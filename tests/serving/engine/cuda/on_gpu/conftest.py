"""What only a GPU can show. Without one there is nothing to collect."""

import torch

collect_ignore_glob = [] if torch.cuda.is_available() else ["test_*.py"]
