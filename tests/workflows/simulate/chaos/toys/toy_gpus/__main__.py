from stages.command import main
from stages.toy_gpus import ToyGpus

if __name__ == "__main__":
    main(ToyGpus)
