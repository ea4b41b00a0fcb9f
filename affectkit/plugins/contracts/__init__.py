"""What a plugin must do, group by group: `affectkit check-plugin` and the tests hold plugins to the same obligations.

An obligation is a function of a `Candidate` that raises where the plugin does not keep it; the first line of its
docstring is the obligation in words.
"""

from affectkit.plugins.contracts.candidate import Broken, Candidate, Obligation, hold
from affectkit.plugins.contracts.checking import Verdict, check, obligations, sentence

__all__ = ["Broken", "Candidate", "Obligation", "Verdict", "check", "hold", "obligations", "sentence"]
