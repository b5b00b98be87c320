"""How an experiment is laid out over sweeps: one plain sweep, seeds in looks, sizes, learning rates, image sides.

Each design says which member sweeps there are and what is read from them together; `carry_out` runs them all.
"""

from study.designs.base import COMPLETE, FAILURES, INCOMPLETE, Design, Options, carry_out, check_claims
from study.designs.looks import InLooks
from study.designs.plain import Plain
from study.designs.precision import with_precision
from study.designs.rates import Grid, Rates
from study.designs.sizes import Sizes
from study.designs.sources import SIZES, source_of_file, sources_of_folder
from study.designs.transfer import Transfer
