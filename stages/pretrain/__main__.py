from stages.pretrain import Pretrain
from stages.command import main

main(Pretrain)
