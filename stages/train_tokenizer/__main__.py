from stages.command import main
from stages.train_tokenizer import TrainTokenizer

main(TrainTokenizer)
