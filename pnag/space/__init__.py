"""Search spaces: architectures, their blocks and encoding, their cost by a table, budgets, and random samples.

In come the name of a space and a latency table. Out go architectures, tokens of shape (n, length), and c(a).
"""

from pnag.space.architecture import Architecture
from pnag.space.cost import CostModel
from pnag.space.search_space import SearchSpace, decode_strings
from pnag.space.spaces import SPACES, load_space
from pnag.space.tokens import Tokens

__all__ = ["SPACES", "Architecture", "CostModel", "SearchSpace", "TokenSpace", "Tokens", "decode_strings", "load_space"]
