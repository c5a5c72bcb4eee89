from stages.command import main
from stages.deploy import Deploy

main(Deploy)
