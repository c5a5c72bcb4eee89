from stages.command import main
from stages.ingest import Ingest

main(Ingest)
