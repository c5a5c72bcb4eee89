from stages.command import main
from stages.substring import Substring

main(Substring)
