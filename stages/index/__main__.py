from stages.command import main
from stages.index import Index

main(Index)
