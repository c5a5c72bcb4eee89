from stages.parse import Parse
from stages.command import main

main(Parse)
