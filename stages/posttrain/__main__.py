from stages.command import main
from stages.posttrain import Posttrain

main(Posttrain)
