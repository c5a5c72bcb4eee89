from stages.command import main
from stages.tokenize import Tokenize

main(Tokenize)
