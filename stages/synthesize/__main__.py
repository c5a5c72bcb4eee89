from stages.synthesize import Synthesize
from stages.command import main

main(Synthesize)
