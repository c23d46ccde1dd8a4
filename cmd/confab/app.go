package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// newApp returns the whole program. A new noun is a file with a function like
// accountCommand, and a line here.
func newApp(e *env) *cli.App {
	app := &cli.App{
		Name:            "confab",
		Usage:           "a name you own, and private conversation that no server owns",
		UsageText:       "confab NOUN VERB [flags] [arguments]",
		Description:     appDescription,
		Version:         e.version,
		Flags:           commonFlags(),
		HideHelpCommand: true,
		Reader:          e.stdin,
		Writer:          e.stdout,
		ErrWriter:       e.stderr,
		ExitErrHandler:  func(*cli.Context, error) {}, // run reports
		OnUsageError:    flagError,
		Commands: []*cli.Command{
			handleCommand(e),
			accountCommand(e, findAccount),
			proofCommand(e),
			netCommand(e),
		},
	}
	app.Action = func(c *cli.Context) error {
		if c.Args().Present() {
			return unknownCommand("confab", c.Args().First(), app.Commands)
		}
		return cli.ShowAppHelp(c)
	}
	return app
}

const appDescription = `Commands are a noun and then a verb. Flags come before the arguments.
Results go to stdout, words to stderr.

Examples:
   confab account new
   confab handle register alice
   confab handle show --json @alice

Exit status: 0 done · 2 wrong command line · 10 invalid · 11 unauthorized ·
12 not found · 13 exists · 14 conflict · 15 stale · 16 exhausted ·
17 unavailable · 18 internal · 130 stopped. With --json an error is a line
{"error":{"code":"not-found","text":"…"}} on stderr.`

// verb is a command that does something.
type verb struct {
	name     string
	args     string   // its arguments as help shows them: "NAME", "[NAME]", "NAME FILE"
	short    string   // what it does, in a list of commands
	long     string   // more about it, in its own help
	examples []string // whole command lines
	flags    []cli.Flag
	run      func(*call) error
}

// noun returns the command of a noun with its verbs. It is the one place where
// what all commands have in common is put on them.
func (e *env) noun(name, short string, verbs ...verb) *cli.Command {
	path := "confab " + name
	noun := &cli.Command{
		Name:            name,
		Usage:           short,
		UsageText:       path + " VERB [flags] [arguments]",
		Description:     "Examples:\n   " + path + " " + verbs[0].name + " --help",
		HideHelpCommand: true,
		OnUsageError:    flagError,
	}
	for _, v := range verbs {
		noun.Subcommands = append(noun.Subcommands, e.command(path, v))
	}
	noun.Action = func(c *cli.Context) error {
		if c.Args().Present() {
			return unknownCommand(path, c.Args().First(), noun.Subcommands)
		}
		return usagef("%s: what to do? one of %s; see %s --help", path, strings.Join(commandNames(noun.Subcommands), ", "), path)
	}
	return noun
}

func (e *env) command(path string, v verb) *cli.Command {
	path += " " + v.name
	description := "Examples:\n   " + strings.Join(v.examples, "\n   ")
	if v.long != "" {
		description = v.long + "\n\n" + description
	}
	return &cli.Command{
		Name:        v.name,
		Usage:       v.short,
		UsageText:   strings.TrimSpace(path + " [flags] " + v.args),
		ArgsUsage:   v.args,
		Description: description,
		Flags:       append(v.flags, commonFlags()...),
		// Otherwise cli takes an argument "help" or "h" for a command.
		HideHelpCommand: true,
		OnUsageError:    flagError,
		Before:          func(c *cli.Context) error { return checkArguments(path, v.args, c.Args().Slice()) },
		Action:          func(c *cli.Context) error { return v.run(&call{env: e, Context: c}) },
	}
}

// checkArguments refuses what cli lets through: flags after an argument, which
// it silently takes for arguments, and a wrong number of arguments.
func checkArguments(path, want string, args []string) error {
	for i, a := range args {
		switch {
		case !strings.HasPrefix(a, "-"):
		case i == 0:
			return usagef("%s: %q looks like a flag; arguments do not begin with - (for a file, write ./%s)", path, a, a)
		default:
			sorted := slices.Concat([]string{path}, args[i:], args[:i])
			return usagef("%s: %q comes after an argument; put flags before the arguments: %s", path, a, strings.Join(sorted, " "))
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
		return usagef("%s: it needs %s; see %s --help", path, want, path)
	case len(args) > most && most == 0:
		return usagef("%s: it takes no arguments, and %q is one; see %s --help", path, args[0], path)
	case len(args) > most:
		return usagef("%s: it takes %s and nothing more, and %q is more; see %s --help", path, want, args[most], path)
	}
	return nil
}

// flagError rewords what the flag parser says.
func flagError(c *cli.Context, err error, _ bool) error {
	path := "confab"
	if c.Command != nil && c.Command.HelpName != "" {
		path = c.Command.HelpName
	}
	unknown, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !ok {
		return usagef("%s: %v; see %s --help", path, err, path)
	}
	var known []string
	for _, f := range c.Command.Flags {
		known = append(known, f.Names()...)
	}
	if near := nearest(unknown, known); near != "" {
		return usagef("%s: there is no flag --%s; did you mean --%s?", path, unknown, near)
	}
	return usagef("%s: there is no flag --%s; see %s --help", path, unknown, path)
}

func unknownCommand(path, name string, known []*cli.Command) error {
	if strings.HasPrefix(name, "-") {
		return usagef("%s: %q is no command; see %s --help", path, name, path)
	}
	if near := nearest(name, commandNames(known)); near != "" {
		return usagef("%s: there is no command %q; did you mean %s %s?", path, name, path, near)
	}
	return usagef("%s: there is no command %q; there are %s", path, name, strings.Join(commandNames(known), ", "))
}

func commandNames(list []*cli.Command) []string {
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
