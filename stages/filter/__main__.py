from stages.filter import Filter
from stages.command import main

main(Filter)
