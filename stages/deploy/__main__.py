from stages.deploy import Deploy
from stages.command import main

main(Deploy)
