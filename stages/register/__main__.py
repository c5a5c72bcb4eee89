from stages.command import main
from stages.register import Register

main(Register)
