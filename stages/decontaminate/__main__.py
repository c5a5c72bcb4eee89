from stages.command import main
from stages.decontaminate import Decontaminate

main(Decontaminate)
