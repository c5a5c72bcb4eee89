from stages.command import main
from stages.sketch import Sketch

main(Sketch)
