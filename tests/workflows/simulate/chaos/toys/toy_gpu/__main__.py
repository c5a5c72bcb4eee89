from stages.command import main
from stages.toy_gpu import ToyGpu

if __name__ == "__main__":
    main(ToyGpu)
