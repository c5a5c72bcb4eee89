from stages.command import main
from stages.evaluate import Evaluate

main(Evaluate)
