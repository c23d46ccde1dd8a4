package command

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// checkArguments refuses what cli lets through: flags after an argument, which
// it silently takes for arguments, and a wrong number of arguments.
func checkArguments(path, want string, args []string) error {
	for i, a := range args {
		switch {
		case !strings.HasPrefix(a, "-"):
		case i == 0:
			return Usagef("%s: %q looks like a flag; arguments do not begin with - (for a file, write ./%s)", path, a, a)
		default:
			sorted := slices.Concat([]string{path}, args[i:], args[:i])
			return Usagef("%s: %q comes after an argument; put flags before the arguments: %s", path, a, strings.Join(sorted, " "))
		}
	}
	least, most := 0, 0
	for name := range strings.FieldsSeq(want) {
		most++
		if !strings.HasPrefix(name, "[") {
			least++
		}
	}
	switch {
	case len(args) < least:
		return Usagef("%s: it needs %s; see %s --help", path, want, path)
	case len(args) > most && most == 0:
		return Usagef("%s: it takes no arguments, and %q is one; see %s --help", path, args[0], path)
	case len(args) > most:
		return Usagef("%s: it takes %s and nothing more, and %q is more; see %s --help", path, want, args[most], path)
	}
	return nil
}

// flagError rewords what the flag parser says.
func (p *Program) flagError(c *cli.Context, err error, _ bool) error {
	path, flags := p.Name, c.App.Flags
	if c.Command != nil && c.Command.HelpName != "" {
		path, flags = c.Command.HelpName, c.Command.Flags
	}
	unknown, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !ok {
		return Usagef("%s: %v; see %s --help", path, err, path)
	}
	var known []string
	for _, f := range flags {
		known = append(known, f.Names()...)
	}
	if near := nearest(unknown, known); near != "" {
		return Usagef("%s: there is no flag --%s; did you mean --%s?", path, unknown, near)
	}
	return Usagef("%s: there is no flag --%s; see %s --help", path, unknown, path)
}

func unknownCommand(path, name string, known []*cli.Command) error {
	if strings.HasPrefix(name, "-") {
		return Usagef("%s: %q is no command; see %s --help", path, name, path)
	}
	if near := nearest(name, names(known)); near != "" {
		return Usagef("%s: there is no command %q; did you mean %s %s?", path, name, path, near)
	}
	return Usagef("%s: there is no command %q; there are %s", path, name, strings.Join(names(known), ", "))
}

func names(list []*cli.Command) []string {
	var names []string
	for _, c := range list {
		names = append(names, c.Name)
	}
	return names
}

// nearest returns the word that was probably meant, or "" if none is near: at
// most a third of its letters, but one at least, would have been mistyped.
func nearest(typed string, words []string) string {
	best, bestDistance := "", len(typed)+1
	for _, w := range words {
		if d := distance(typed, w); d < bestDistance && d <= max(1, len(w)/3) && len(w) > 1 {
			best, bestDistance = w, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour in order to turn a into b.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64 // nobody's slip of a key, and not worth the square of it
	}
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
