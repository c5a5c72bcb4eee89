from stages.ingest import Ingest
from stages.command import main

main(Ingest)
