package command

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// World is all that a program takes from outside.
type World struct {
	Stdin          io.Reader
	Stdout         io.Writer // results
	Stderr         io.Writer // words
	StdoutTerminal bool      // stdout is shown to a person
	StderrTerminal bool
	Getenv         func(string) string
	Version        string // of the program, or empty
}

// System is the real world.
func System() World {
	w := World{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		StdoutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		StderrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		Getenv:         os.Getenv,
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "(devel)" {
		w.Version = info.Main.Version
	}
	return w
}

// Program is a whole command line: nouns with verbs, or verbs, or, with Do, one
// thing to do.
type Program struct {
	World    World
	Name     string
	Short    string   // what it is, in a line
	Long     string   // more about it
	Examples []string // whole command lines
	Nouns    []Noun
	Verbs    []Verb
	Flags    []cli.Flag // of Do
	Do       func(*Call) error

	// Common returns the flags that every command has beside --json. Each call
	// returns new ones, since a flag remembers whether it was set.
	Common func() []cli.Flag
	// Advise says what a person can do about an error, or returns "". It may be
	// nil.
	Advise func(error) string
}

// Noun is what verbs are about.
type Noun struct {
	Name  string
	Short string
	Verbs []Verb
}

// Verb is a command that does something.
type Verb struct {
	Name     string
	Args     string   // its arguments as help shows them: "NAME", "[NAME]", "NAME FILE"
	Short    string   // what it does, in a list of commands
	Long     string   // more about it, in its own help
	Examples []string // whole command lines
	Flags    []cli.Flag
	Run      func(*Call) error
}

// Call is one run of a command: what it gets.
type Call struct {
	World
	*cli.Context
	program *Program
	path    string // of the command: "confab account new"
}

// Main runs the program on the process's command line and ends the process. The
// first Ctrl-C cancels the context, so that the program can say how things stand
// and stop in good order; a second one ends it at once.
func Main(p *Program) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	status := p.Run(ctx, os.Args)
	stop()
	os.Exit(status)
}

// Run runs one command line, args[0] being the program's name, and returns the
// exit status.
func (p *Program) Run(ctx context.Context, args []string) int {
	return p.report(p.app().RunContext(ctx, args), wantsJSON(args))
}

// app returns the program as the command line library wants it.
func (p *Program) app() *cli.App {
	app := &cli.App{
		Name:            p.Name,
		Usage:           p.Short,
		UsageText:       p.Name + " NOUN VERB [flags] [arguments]",
		Description:     description(p.Long, p.Examples) + "\n\n" + statuses,
		Version:         p.World.Version,
		HideVersion:     p.World.Version == "",
		Flags:           p.common(),
		HideHelpCommand: true,
		Reader:          p.World.Stdin,
		Writer:          p.World.Stdout,
		ErrWriter:       p.World.Stderr,
		ExitErrHandler:  func(*cli.Context, error) {}, // Run reports
		OnUsageError:    p.flagError,
	}
	for _, n := range p.Nouns {
		app.Commands = append(app.Commands, p.noun(n))
	}
	for _, v := range p.Verbs {
		app.UsageText = p.Name + " VERB [flags] [arguments]"
		app.Commands = append(app.Commands, p.verb(p.Name, v))
	}
	if p.Do != nil {
		app.UsageText = p.Name + " [flags]"
		app.Flags = append(slices.Clone(p.Flags), app.Flags...)
		app.Before = func(c *cli.Context) error { return checkArguments(p.Name, "", c.Args().Slice()) }
		app.Action = p.action(p.Name, p.Do)
		return app
	}
	app.Action = func(c *cli.Context) error {
		if c.Args().Present() {
			return unknownCommand(p.Name, c.Args().First(), app.Commands)
		}
		return cli.ShowAppHelp(c)
	}
	return app
}

// statuses is part of each program's help.
const statuses = `Results go to stdout, words to stderr; with --json a result is a line of JSON
and an error a line {"error":{"code":"not-found","text":"…"}} on stderr.
Exit status: 0 done · 2 wrong command line · 10 invalid · 11 unauthorized ·
12 not found · 13 exists · 14 conflict · 15 stale · 16 exhausted ·
17 unavailable · 18 internal · 130 stopped.`

func description(long string, examples []string) string {
	text := "Examples:\n   " + strings.Join(examples, "\n   ")
	if long != "" {
		text = long + "\n\n" + text
	}
	return text
}

// noun returns the command of a noun with its verbs.
func (p *Program) noun(n Noun) *cli.Command {
	path := p.Name + " " + n.Name
	noun := &cli.Command{
		Name:            n.Name,
		Usage:           n.Short,
		UsageText:       path + " VERB [flags] [arguments]",
		Description:     description("", []string{path + " " + n.Verbs[0].Name + " --help"}),
		HideHelpCommand: true,
		OnUsageError:    p.flagError,
	}
	for _, v := range n.Verbs {
		noun.Subcommands = append(noun.Subcommands, p.verb(path, v))
	}
	noun.Action = func(c *cli.Context) error {
		if c.Args().Present() {
			return unknownCommand(path, c.Args().First(), noun.Subcommands)
		}
		return Usagef("%s: what to do? one of %s; see %s --help", path, strings.Join(names(noun.Subcommands), ", "), path)
	}
	return noun
}

// verb is the one place where what all commands have in common is put on them.
func (p *Program) verb(path string, v Verb) *cli.Command {
	path += " " + v.Name
	return &cli.Command{
		Name:        v.Name,
		Usage:       v.Short,
		UsageText:   strings.TrimSpace(path + " [flags] " + v.Args),
		ArgsUsage:   v.Args,
		Description: description(v.Long, v.Examples),
		Flags:       append(slices.Clone(v.Flags), p.common()...),
		// Otherwise cli takes an argument "help" or "h" for a command.
		HideHelpCommand: true,
		OnUsageError:    p.flagError,
		Before:          func(c *cli.Context) error { return checkArguments(path, v.Args, c.Args().Slice()) },
		Action:          p.action(path, v.Run),
	}
}

func (p *Program) action(path string, run func(*Call) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		return run(&Call{World: p.World, Context: c, program: p, path: path})
	}
}

func (p *Program) common() []cli.Flag {
	flags := []cli.Flag{Bool("json", "print the result, or the error, as one line of JSON")}
	if p.Common != nil {
		flags = append(flags, p.Common()...)
	}
	return flags
}

// Bool returns a flag that is off unless it is there; help need not say so.
func Bool(name, usage string) cli.Flag {
	return &cli.BoolFlag{Name: name, Usage: usage, DisableDefaultText: true}
}

// Given reports whether the flag was set, after the command or before it.
func (c *Call) Given(flag string) bool {
	for _, x := range c.Lineage() {
		if x.IsSet(flag) {
			return true
		}
	}
	return false
}

// JSON reports whether the result is to be JSON.
func (c *Call) JSON() bool { return c.Given("json") }

// Setting returns the value of a flag, wherever on the line it was set, or that
// of its variable: for passphrase-file of confab it is CONFAB_PASSPHRASE_FILE.
// cli's own lookup sees only the innermost place that could have set a flag.
func (c *Call) Setting(flag string) string {
	for _, x := range c.Lineage() {
		if x.IsSet(flag) {
			return x.String(flag)
		}
	}
	if v := c.Getenv(variable(c.program.Name + "-" + flag)); v != "" {
		return v
	}
	return c.String(flag)
}

func variable(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }

// Ctx returns the context that ends when the person stops the program.
func (c *Call) Ctx() context.Context { return c.Context.Context }
