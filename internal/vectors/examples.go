package vectors

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// fence is an example in a specification: the file, the vector, and lines of it.
var fence = regexp.MustCompile("(?s)```vector (\\S+) (\\S+)\n(.*?)```")

// CheckExamples compares every line of the examples in a specification with the
// vectors in dir that they name. It returns how many examples there are, and what
// is wrong with them: lines that a vector does not have, or not in this order.
func CheckExamples(dir, specification string) (n int, faults []string) {
	examples := fence.FindAllStringSubmatch(specification, -1)
	for _, e := range examples {
		f, err := Read(filepath.Join(dir, e[1]))
		if err != nil {
			faults = append(faults, err.Error())
			continue
		}
		v, ok := f.Find(e[2])
		if !ok {
			faults = append(faults, fmt.Sprintf("%s has no vector %s", e[1], e[2]))
			continue
		}
		left := strings.Split(File{Vectors: []Vector{v}}.Format(), "\n")
		for line := range strings.SplitSeq(strings.Trim(e[3], "\n"), "\n") {
			i := slices.Index(left, line)
			if i < 0 {
				faults = append(faults, fmt.Sprintf("%s %s does not say, or not here: %s", e[1], e[2], line))
				continue
			}
			left = left[i+1:]
		}
	}
	return len(examples), faults
}
