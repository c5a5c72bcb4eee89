from stages.command import main
from stages.toy import Toy
from stages.toy.faults import die_at_the_manifest

if __name__ == "__main__":
    die_at_the_manifest()
    main(Toy)
