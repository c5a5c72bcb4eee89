from stages.command import main
from stages.embed import Embed

main(Embed)
