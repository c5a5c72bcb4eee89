from stages.posttrain import Posttrain
from stages.command import main

main(Posttrain)
