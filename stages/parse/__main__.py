from stages.command import main
from stages.parse import Parse

main(Parse)
