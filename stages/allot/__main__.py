from stages.allot import Allot
from stages.command import main

main(Allot)
