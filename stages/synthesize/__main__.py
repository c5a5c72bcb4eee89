from stages.command import main
from stages.synthesize import Synthesize

main(Synthesize)
