from stages.command import main
from stages.semantic import Semantic

main(Semantic)
