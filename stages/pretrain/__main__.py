from stages.command import main
from stages.pretrain import Pretrain

main(Pretrain)
