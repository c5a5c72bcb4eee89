from stages.command import main
from stages.filter import Filter

main(Filter)
