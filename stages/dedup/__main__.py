from stages.dedup import Dedup
from stages.command import main

main(Dedup)
