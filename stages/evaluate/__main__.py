from stages.evaluate import Evaluate
from stages.command import main

main(Evaluate)
