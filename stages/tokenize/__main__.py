from stages.tokenize import Tokenize
from stages.command import main

main(Tokenize)
