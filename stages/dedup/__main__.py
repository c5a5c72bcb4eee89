from stages.command import main
from stages.dedup import Dedup

main(Dedup)
